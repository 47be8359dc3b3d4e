"""Loss terms, the criteria made of them, and distillation."""
