"""Checks of golden files, found by the start of their names."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from tools.reference.golden.files import read_arrays

Arrays = Mapping[str, np.ndarray]

# The longest fitting prefix wins. Modules are imported when a file of theirs is checked.
CHECKS = {
    "aematter_": "onehot_family:check_inference",
    "cheapmatting_": "onehot_family:check_inference",
    "criterion": "training:check_criterion",
    "diffmatte_": "diffusion:check_sampling",
    "diffmatte_losses": "diffusion:check_losses",
    "diffmatte_schedule": "diffusion:check_schedule",
    "diffmatte_train_": "diffusion:check_training",
    "mematte_": "vit_family:check_inference",
    "mematte_s_train_step": "training:check_train_step",
    "metrics_": "metrics:check_scores",
    "policy_attention": "training:check_policy_attention",
    "vitmatte_": "vit_family:check_inference",
}


@dataclass(frozen=True)
class Quantity:
    """Stored quantity: its largest difference from ours, and the tolerance."""

    name: str
    difference: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """True if the difference is accepted; NaN is not."""
        return self.difference <= self.tolerance


def largest_difference(ours: np.ndarray, stored: np.ndarray) -> float:
    """Largest absolute difference; infinite where the shapes differ."""
    if ours.shape != stored.shape:
        return float("inf")
    return float(np.abs(ours.astype(np.float64) - stored.astype(np.float64)).max(initial=0))


def relative_difference(ours: float, stored: float) -> float:
    """Difference relative to the stored value.

    0 where both are 0 or both not a number.
    """
    if ours == stored or (math.isnan(ours) and math.isnan(stored)):
        return 0.0
    return abs(ours - stored) / abs(stored) if stored else math.inf


def share_of_tolerance(
    name: str, ours: np.ndarray, stored: np.ndarray, *, absolute: float, relative: float
) -> Quantity:
    """Quantity as a share of tolerances that grow with stored values.

    At most 1 is accepted.
    """
    stored = stored.astype(np.float64)
    share = np.abs(ours - stored) / (absolute + relative * np.abs(stored)) if ours.shape == stored.shape else math.inf
    return Quantity(f"{name} (share of its tolerance)", float(np.max(share)), 1)


def compare_losses(ours: Mapping[str, float], arrays: Arrays, prefix: str = "") -> list[Quantity]:
    """Differences of loss terms; a term that one side lacks differs.

    Those that are stored under names with this prefix, and all of ours.
    """
    ours = {prefix + name: loss for name, loss in ours.items()}
    stored = {key: float(array) for key, array in arrays.items() if key.startswith(prefix) and "loss" in key}
    quantities = []
    for name in sorted(ours.keys() | stored.keys()):
        difference = relative_difference(ours.get(name, math.nan), stored.get(name, math.inf))
        quantities.append(Quantity(f"{name} (relative)", difference, 1e-5))
    return quantities


def find_check(name: str) -> Callable[[Path, Arrays], list[Quantity]]:
    """Check for golden files called `name`, taking path and arrays.

    Raises:
        ValueError: this project has no such files.
    """
    prefixes = [prefix for prefix in CHECKS if name.startswith(prefix)]
    if not prefixes:
        raise ValueError(f"{name}: no check for this name; known are {', '.join(sorted(CHECKS))}")
    module, function = CHECKS[max(prefixes, key=len)].split(":")
    return getattr(import_module(f"tools.reference.golden.{module}"), function)


def check_file(path: str | Path) -> list[Quantity]:
    """Compute every quantity stored in a golden file again, and compare."""
    path = Path(path)
    return find_check(path.name)(path, read_arrays(path))
