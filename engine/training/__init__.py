"""Training loop, hooks, optimisers, validation and exact resume."""
