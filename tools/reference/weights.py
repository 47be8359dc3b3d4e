"""Deterministic synthetic weights, each tensor a function of name and shape.

The golden files were computed with these weights, so no trained checkpoint is needed to test a network.
"""

import math
import zlib

import numpy as np
import torch
from torch import Tensor


def tensor_values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the float32 values of the tensor called `name` (checkpoint name, no wrapper prefix)."""
    generator = np.random.default_rng(zlib.crc32(name.encode("utf-8")))
    noise = np.asarray(generator.standard_normal(shape), dtype=np.float32)
    one, tenth = np.float32(1), np.float32(0.1)
    if name.endswith("running_var"):
        return one + tenth * np.abs(noise)
    if name.endswith("running_mean"):
        return tenth * noise
    if name.endswith("pos_embed"):
        return np.float32(0.02) * noise
    if name.endswith(("rel_pos_h", "rel_pos_w")):
        return tenth * noise
    if noise.ndim == 1 and name.endswith(".weight"):
        return one + tenth * noise
    if noise.ndim == 1 and name.endswith(".bias"):
        return np.float32(0.05) * noise
    if noise.ndim < 2:
        return tenth * noise
    return noise / np.float32(math.sqrt(math.prod(shape[1:])))


@torch.no_grad()
def fill_(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Overwrite every tensor of `state_dict` in place.

    Integer tables other than counters stay as they are.
    """
    for name, tensor in state_dict.items():
        if name.endswith("num_batches_tracked"):
            tensor.zero_()
        elif tensor.is_floating_point():
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(tensor_values(name, tuple(tensor.shape)))))
    return state_dict
