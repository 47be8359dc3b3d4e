"""Networks on images of any size, by the executor of their class.

An executor is a module with two functions, `matte` and `memory_cost`, as described below. A network without one runs
its `forward` on the whole image.
"""

from functools import singledispatch

import torch
from torch import Tensor

from ..aematter import AEMatter
from ..base import MattingNetwork, MattingOutput
from ..cheapmatting import CheapMatting
from ..diffmatte import DiffMatte
from ..inputs import published_size, unit_range
from ..vitmatte import ViTMatte
from . import aematter, cheapmatting, diffmatte, vitmatte
from .budget import Limits

EXECUTORS = {ViTMatte: vitmatte, DiffMatte: diffmatte, AEMatter: aematter, CheapMatting: cheapmatting}  # and subclasses


@singledispatch
def _matte(network: MattingNetwork, image: Tensor, trimap: Tensor, limits: Limits, name: str) -> MattingOutput:
    return network(unit_range(image), unit_range(trimap))


@singledispatch
def _memory_cost(network: MattingNetwork, height: int, width: int, limits: Limits) -> int:
    height, width = published_size(height, width)
    return network.bytes_per_pixel * height * width


for _network, _executor in EXECUTORS.items():
    _matte.register(_network, _executor.matte)
    _memory_cost.register(_network, _executor.memory_cost)


@torch.inference_mode()
def matte(network: MattingNetwork, image: Tensor, trimap: Tensor, limits: Limits, name: str = "") -> MattingOutput:
    """Matte large images within `limits`.

    Args:
        network: in evaluation mode.
        image: (B, 3, H, W) uint8 RGB; networks other than ViTMatte and MEMatte take one image at a time.
        trimap: (B, 1, H, W) uint8 of 0, 128, 255.
        limits: bounds on intermediate results.
        name: of the image; networks that draw noise draw it by this name.

    Returns:
        alpha, exact where pixels are unknown and arbitrary elsewhere, and the routing; without features.
    """
    return _matte(network, image, trimap, limits, name)


def memory_cost(network: MattingNetwork, height: int, width: int, limits: Limits) -> int:
    """Upper estimate in bytes for `matte` of one image, without its inputs."""
    return _memory_cost(network, height, width, limits)
