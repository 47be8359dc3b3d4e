"""Trimaps from masks, without OpenCV.

The command lines use `data.masks`, which follows each object by OpenCV's distances; the package needs torch alone, so
it has this shorter rule of its own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

BAND = 0.03  # width of the unknown band to each side, as a share of the object's size (root of its area)
MIN_BAND_PX = 2.0  # no mask is more exact than that
_SIDE_PX = 1024  # larger masks are reduced to cells of several pixels, all of which have to agree
_NEAR = 4  # band widths: places with known pixels this near need no narrower band


def trimap_from_mask(mask: Tensor) -> Tensor:
    """Trimap with an unknown band along the edge of an object.

    Nothing changes sides: thin parts and narrow gaps near the object's edge become unknown. Small objects and holes
    that the band would cover entirely get a narrower one.

    Args:
        mask: (H, W) uint8, foreground from 128 on.

    Returns:
        (H, W) uint8 of 0, 128, 255.

    Raises:
        ValueError: no pixel, or every pixel, is foreground.
    """
    inside = mask >= 128
    area = int(inside.sum())
    if area in (0, inside.numel()):
        raise ValueError(f"the mask has {'no' if area == 0 else 'only'} foreground pixels: there is no edge to refine")
    cell = -(-max(mask.shape) // _SIDE_PX)
    width = max(BAND * area**0.5 / cell, MIN_BAND_PX)
    trimap = torch.full_like(mask, 128)
    for value, region in ((255, inside), (0, ~inside)):
        core = _core(_cells(region, cell), width)
        core = core.repeat_interleave(cell, 0)[: mask.shape[0]].repeat_interleave(cell, 1)[:, : mask.shape[1]]
        trimap[core] = value
    return trimap


def _cells(region: Tensor, cell: int) -> Tensor:
    """Cells of a bool (H, W) that lie in it entirely."""
    outside = (~region).to(torch.float32)[None, None]
    return F.max_pool2d(outside, cell, ceil_mode=True)[0, 0] == 0


def _core(region: Tensor, width_px: float) -> Tensor:
    """Pixels (H, W) of a region farther than width_px from its edge.

    In small parts of the region, as far as they allow.
    """
    distance = _row_distance(~region)
    core = ~_within(distance, width_px)
    narrower, reach = width_px / 2, int(_NEAR * width_px)
    while narrower >= MIN_BAND_PX:
        core = core | (~_within(distance, narrower) & ~_grown(core, reach))
        narrower /= 2
    return core


def _row_distance(marked: Tensor) -> Tensor:
    """Distance (H, W) to the next marked pixel per row; int32.

    Large where the row has none.
    """
    width = marked.shape[1]
    position = torch.arange(width, device=marked.device, dtype=torch.int32).expand_as(marked)
    nothing = torch.full_like(position, -(10**6))
    before = position - torch.where(marked, position, nothing).cummax(dim=1).values
    after = position - torch.where(marked.flip(1), position, nothing).cummax(dim=1).values
    return torch.minimum(before, after.flip(1))


def _within(row_distance: Tensor, radius_px: float) -> Tensor:
    """Pixels at most radius_px from a marked one."""
    found = row_distance <= radius_px
    height = len(found)
    for rows in range(1, min(int(radius_px), height - 1) + 1):
        near = row_distance <= (radius_px**2 - rows**2) ** 0.5
        found[rows:] |= near[:-rows]
        found[:-rows] |= near[rows:]
    return found


def _grown(marked: Tensor, reach_px: int) -> Tensor:
    """Pixels at most reach_px rows and columns from a marked one."""
    near = _row_distance(marked) <= reach_px
    return (_row_distance(near.T.contiguous()) <= reach_px).T
