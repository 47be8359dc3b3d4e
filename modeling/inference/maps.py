"""Upsampling and convolution chains on some rows, equal to the whole result."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..decoder.blocks import double
from ..strips import Strip, row_strips


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
