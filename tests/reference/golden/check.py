"""Finding the check that belongs to a golden file, by the start of its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

Arrays = Mapping[str, np.ndarray]

# The longest fitting prefix wins. Modules are imported when a file of theirs is checked.
CHECKS = {
    "aematter_": "onehot_family:check_inference",
    "cheapmatting_": "onehot_family:check_inference",
    "mematte_": "vit_family:check_inference",
    "vitmatte_": "vit_family:check_inference",
}


@dataclass(frozen=True)
class Quantity:
    """One stored quantity: its largest difference from ours, and the most that is accepted."""

    name: str
    difference: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the difference is accepted; NaN is not."""
        return self.difference <= self.tolerance


def largest_difference(ours: np.ndarray, stored: np.ndarray) -> float:
    """Largest absolute difference; infinite where the shapes differ."""
    if ours.shape != stored.shape:
        return float("inf")
    return float(np.abs(ours.astype(np.float64) - stored.astype(np.float64)).max(initial=0))


def find_check(name: str) -> Callable[[str, Arrays], list[Quantity]]:
    """The check for golden files called `name`.

    Raises:
        ValueError: no network of this project has such files.
    """
    prefixes = [prefix for prefix in CHECKS if name.startswith(prefix)]
    if not prefixes:
        raise ValueError(f"{name}: no check for this name; known are {', '.join(sorted(CHECKS))}")
    module, function = CHECKS[max(prefixes, key=len)].split(":")
    return getattr(import_module(f"tests.reference.golden.{module}"), function)


def check_file(path: str | Path) -> list[Quantity]:
    """Compute every quantity stored in a golden file again, and compare."""
    path = Path(path)
    with np.load(path) as arrays:
        return find_check(path.name)(path.stem, dict(arrays))
