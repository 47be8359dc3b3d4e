"""Closed-form matting (Levin, Lischinski and Weiss 2008) in a fixed number of steps."""

from .solver import closed_form

__all__ = ["closed_form"]
