"""Criteria, and the terms that they are made of: mattes, BATR, distillation."""
