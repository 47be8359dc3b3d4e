"""CheapMatting's full-resolution head in strips."""

from functools import partial

import torch
from torch import Tensor

from ..base import MattingOutput
from ..cheapmatting import CheapMatting
from ..strips import Strip, rows_within
from .budget import ENCODED, Limits
from .onehot import double_rows, map_strips, matte_padded, padded_size

_HEAD_HALO = 2

# Cost model, float32: what the last decoder layer holds per pixel of the image (the input, its own input and output at
# 1/2), what the head holds per pixel of a strip, and what convolutions prepare once.
_BYTES_OF_PIXEL, _BYTES_OF_STRIP = 4 * (6 + (64 + 2 * 88 + 32) / 4), 4 * (2 * 38 + 32 + 3 * 24)
_FIXED_BYTES = 250_000_000


def matte(network: CheapMatting, image: Tensor, trimap: Tensor, limits: Limits, name: str = "") -> MattingOutput:
    """Alpha of one image from strips with unknown pixels.

    See `executors.matte`.
    """
    return matte_padded(network, image, trimap, partial(raw_alpha, network, limits=limits))


def memory_cost(network: CheapMatting, height: int, width: int, limits: Limits) -> int:
    """Upper estimate in bytes of what `matte` takes; see `executors.memory_cost`."""
    height, width = padded_size(network, height, width)
    strip_px = min(max(limits.tile_px, 32 * width), height * width)
    return int(_FIXED_BYTES + _BYTES_OF_PIXEL * height * width + _BYTES_OF_STRIP * strip_px)


def raw_alpha(network: CheapMatting, inputs: Tensor, limits: Limits) -> Tensor:
    """`network.raw_alpha` (1, 1, H, W) of one padded input, 0 in strips without an unknown pixel."""
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    x = network.half_features(inputs)
    limits.report(ENCODED)
    height, width = inputs.shape[2:]
    wanted = inputs[:, 4].amax(dim=(0, 2)) > 0  # (H,)

    def strip_of(strip: Strip) -> Tensor:
        first, last = strip.first, strip.last
        return network.pred(torch.cat([double_rows(x, first, last), inputs[:, :, first:last]], dim=1))

    return map_strips(strip_of, height, rows_within(width, limits.tile_px, multiple=32), _HEAD_HALO, wanted)
