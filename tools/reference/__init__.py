"""Written-out formulas that the fast paths of the project must equal."""
