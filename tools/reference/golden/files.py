"""Reading the golden files and the published key lists."""

import json
from pathlib import Path

import numpy as np
from torch import nn

GOLDEN = Path(__file__).resolve().parents[3] / "tests" / "golden"


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Arrays of an npz file by key."""
    with np.load(path) as archive:
        return dict(archive)


def load_golden(name: str) -> dict[str, np.ndarray]:
    """Arrays of `tests/golden/<name>.npz` by key."""
    return read_arrays(GOLDEN / f"{name}.npz")


def published_keys(network: str) -> list[list]:
    """Published state dict's [name, shape, dtype], in order."""
    return json.loads((GOLDEN / f"{network}.keys.json").read_text())


def recorded_scores() -> dict[str, dict]:
    """The cases of the metrics' golden files by name."""
    return json.loads((GOLDEN / "metrics.json").read_text())["cases"]


def key_list(model: nn.Module) -> list[list]:
    """Names, shapes and types of a network, as published key lists."""
    return [[name, list(t.shape), str(t.dtype).removeprefix("torch.")] for name, t in model.state_dict().items()]
