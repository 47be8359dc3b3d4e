"""Golden files: what each holds, computed again by this project's code, and how far apart the two are."""

from tools.reference.golden.check import Quantity, check_file

__all__ = ["Quantity", "check_file"]
