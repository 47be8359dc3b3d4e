"""Padding and maps in strips for AEMatter and CheapMatting."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..base import MattingOutput
from ..decoder.blocks import double
from ..onehot import OneHotNetwork, clamp_alpha, crop, mirrored_input, one_hot_trimap
from ..strips import Strip, row_strips


def matte_padded(
    network: OneHotNetwork, image: Tensor, trimap: Tensor, raw_alpha: Callable[[Tensor], Tensor]
) -> MattingOutput:
    """Alpha of one image by `raw_alpha` of its padded input.

    Without unknown pixels it is 0, and nothing is computed.
    """
    unknown = one_hot_trimap(trimap)[:, 1:2]
    if not unknown.any():
        return MattingOutput(unknown)
    inputs, origin = mirrored_input(image, trimap, network.min_side_px)
    raw = crop(raw_alpha(inputs), origin, image.shape[-2:])
    return MattingOutput(clamp_alpha(raw.float(), training=False))


def padded_size(network: OneHotNetwork, height: int, width: int) -> tuple[int, int]:
    """Size of the padded input."""
    return tuple(max(side + -side % 32, network.min_side_px) for side in (height, width))


def double_rows(x: Tensor, first: int, last: int) -> Tensor:
    """Rows [first, last) of `double(x)`."""
    top, bottom = max(first // 2 - 1, 0), min((last + 1) // 2 + 1, x.shape[2])
    return double(x[:, :, top:bottom])[:, :, first - 2 * top : last - 2 * top]


def map_strips(
    function: Callable[[Strip], Tensor], height: int, rows: int, halo: int, wanted: Tensor | None = None
) -> Tensor:
    """Compute a map strip by strip.

    Args:
        function: from a strip to the map's rows [first, last) as (B, C, last - first, W); rows that are wrong at the
            strip's artificial border must lie inside the halo.
        height: rows of the map.
        rows: rows per strip; at least `height` for one strip.
        halo: rows around a strip on which its result depends.
        wanted: (height,) bool; strips without a wanted row are left zero.

    Returns:
        (B, C, height, W).
    """
    if rows >= height:
        return function(Strip(0, height, 0, height))
    out = None
    for strip in row_strips(height, rows, halo):
        if wanted is not None and not wanted[strip.start : strip.stop].any():
            continue
        part = function(strip)[:, :, strip.start - strip.first : strip.stop - strip.first]
        if out is None:
            out = torch.zeros((*part.shape[:2], height, part.shape[3]), dtype=part.dtype, device=part.device)
        out[:, :, strip.start : strip.stop] = part
    return out
