"""Closed-form matting (Levin, Lischinski and Weiss 2008) in a fixed number of steps: `solver.closed_form`."""
