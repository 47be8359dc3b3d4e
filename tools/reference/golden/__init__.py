"""Golden files: stored quantities, computed again and compared."""

from tools.reference.golden.check import Quantity, check_file

__all__ = ["Quantity", "check_file"]
