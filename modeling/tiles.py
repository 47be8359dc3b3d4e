"""Decoder tiles around unknown pixels, with enough context to be exact."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from .inputs import is_unknown

CELL_PX = 16  # tile edges lie on multiples of this
HALO_CELLS = 2  # context around a tile in cells: the decoder reaches 31 px and 2 feature cells
_COST_CELLS = 1  # halo that a tile costs on average over the scales, each of which drops what it no longer needs
_TILE_OVERHEAD = 32  # a tile costs as much as so many more cells, for its launches and copies
_DENSE = 0.8  # a box is not split for less than this share of empty cells
_SMALLEST_SIDE = 6  # cells; shorter sides are not cut, since the halo would outweigh what is saved


class Box(NamedTuple):
    """Half-open rectangle in cells."""

    top: int
    bottom: int
    left: int
    right: int

    def grown(self, by: int, height: int, width: int) -> "Box":
        """The box with `by` more cells on each side, within the grid."""
        top, bottom = max(self.top - by, 0), min(self.bottom + by, height)
        return Box(top, bottom, max(self.left - by, 0), min(self.right + by, width))

    def pixels(self) -> tuple[int, int, int, int]:
        """top, bottom, left, right in pixels."""
        return tuple(edge * CELL_PX for edge in self)


def unknown_cells(trimap: Tensor, height: int, width: int) -> np.ndarray:
    """Cells with a pixel that is neither certain background nor foreground.

    Args:
        trimap: (B, 1, H, W) uint8; a cell counts where any image of the batch needs it.
        height, width: cells of the padded image.

    Returns:
        (height, width) bool.
    """
    unknown = is_unknown(trimap).any(dim=1).any(dim=0)  # (H, W)
    padded = F.pad(unknown, (0, width * CELL_PX - unknown.shape[1], 0, height * CELL_PX - unknown.shape[0]))
    return padded.view(height, CELL_PX, width, CELL_PX).any(dim=3).any(dim=1).cpu().numpy()


def cover(cells: np.ndarray, tile_px: int) -> list[Box]:
    """Disjoint boxes around all marked cells (h, w), cheap to decode with halo.

    A box is cut in two, again and again, where that saves; and where it would hold more than `tile_px` pixels.
    """
    return _best_cover(cells, Box(0, cells.shape[0], 0, cells.shape[1]), tile_px)[1]


def decoded_cells(box: Box, halo: int = HALO_CELLS) -> int:
    """Cells of `box` with its halo, away from the image border."""
    return (box.bottom - box.top + 2 * halo) * (box.right - box.left + 2 * halo)


def _best_cover(cells: np.ndarray, box: Box, tile_px: int) -> tuple[int, list[Box]]:
    """Cost of, and boxes for, the marked cells inside `box`."""
    box = _tighten(cells, box)
    if box is None:
        return 0, []
    part = cells[box.top : box.bottom, box.left : box.right]
    cost = decoded_cells(box, _COST_CELLS) + _TILE_OVERHEAD
    too_large = decoded_cells(box) * CELL_PX**2 > tile_px and part.size > 1
    dense = part.mean() >= _DENSE or max(part.shape) < 2 * _SMALLEST_SIDE
    if dense and not too_large:
        return cost, [box]
    covers = [_best_cover(cells, half, tile_px) for half in _halves(part, box, dense)]
    split_cost = sum(half_cost for half_cost, _ in covers)
    if split_cost >= cost and not too_large:
        return cost, [box]
    return split_cost, [tile for _, tiles in covers for tile in tiles]


def _tighten(cells: np.ndarray, box: Box) -> Box | None:
    """Smallest box around the marked cells of `box`."""
    part = cells[box.top : box.bottom, box.left : box.right]
    rows, cols = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    if not len(rows):
        return None
    return Box(box.top + rows[0], box.top + rows[-1] + 1, box.left + cols[0], box.left + cols[-1] + 1)


def _halves(part: np.ndarray, box: Box, dense: bool) -> tuple[Box, Box]:
    """Halves of `box` at the cheapest cut, or its middle.

    `part` holds its cells; halves are tightened before they are compared.
    """
    height, width = part.shape
    row, row_cost = _cheapest_cut(part)
    col, col_cost = _cheapest_cut(part.T)
    by_row = row_cost <= col_cost
    if dense or min(row_cost, col_cost) >= decoded_cells(box, _COST_CELLS):
        by_row, row, col = height >= width, height // 2, width // 2
    if by_row:
        return box._replace(bottom=box.top + row), box._replace(top=box.top + row)
    return box._replace(right=box.left + col), box._replace(left=box.left + col)


def _cheapest_cut(part: np.ndarray) -> tuple[int, float]:
    """Row of the cheapest cut of `part`, and its cost.

    The cost is that of both tightened halves.
    """
    if len(part) < 2:
        return 0, float("inf")
    cost = _prefix_costs(part)[:-1] + _prefix_costs(part[::-1])[::-1][1:]
    best = int(cost.argmin())
    return best + 1, float(cost[best])


def _prefix_costs(part: np.ndarray) -> np.ndarray:
    """Cost in cells of the tightened first 1, 2, ... rows of `part`.

    The first row holds a marked cell.
    """
    width = part.shape[1]
    marked = part.any(axis=1)
    left = np.minimum.accumulate(np.where(marked, part.argmax(axis=1), width))
    right = np.maximum.accumulate(np.where(marked, width - part[:, ::-1].argmax(axis=1), 0))
    bottom = np.maximum.accumulate(np.where(marked, np.arange(1, len(part) + 1), 0))
    return (bottom + 2 * _COST_CELLS) * (right - left + 2 * _COST_CELLS)


def grid(height: int, width: int, side: int) -> Iterator[Box]:
    """Boxes of at most `side` cells per side that tile the grid."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Box(top, min(top + side, height), left, min(left + side, width))
