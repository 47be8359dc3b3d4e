"""Reading the golden files."""

from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden"


def load_golden(name: str) -> dict[str, np.ndarray]:
    """Arrays of `tests/golden/<name>.npz` by key."""
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return dict(archive)
