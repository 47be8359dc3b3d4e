"""Squares of pixels that hold unknown ones.

Known parts of a picture cost nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 8  # pixels; also the distance of the finest grid's nodes
REACH = 2  # how far neighbours in the matrix are away
_WIDE = SIDE + 2 * REACH


class Cells:
    """Squares of SIDE pixels a side with unknown ones, over all pictures.

    There are M of them.

    Values of their pixels are kept as (SIDE, SIDE, M): the same place in all squares is contiguous.

    Args:
        unknown: (B, H, W) bool.
    """

    def __init__(self, unknown: Tensor) -> None:
        batch, height, width = self._shape = unknown.shape
        self._rows, self._cols = -(-height // SIDE), -(-width // SIDE)
        padded = self._padded(unknown, 0)
        squares = padded.view(batch, self._rows, SIDE, self._cols, SIDE).any(dim=4).any(dim=2)
        self._square = squares.flatten().nonzero()[:, 0]  # (M) index among all squares of all pictures
        self._picture = self._square // (self._rows * self._cols)
        self._members = (self._picture == torch.arange(batch, device=unknown.device)[:, None]).float()  # (B, M)
        row, col = self._square // self._cols % self._rows, self._square % self._cols
        # Index of every pixel of a square and of those around it in the picture with a margin.
        pitch = self._cols * SIDE + 2 * REACH
        start = (self._picture * (self._rows * SIDE + 2 * REACH) + row * SIDE) * pitch + col * SIDE
        steps = torch.arange(_WIDE, device=unknown.device)
        self._wide = (steps[:, None] * pitch + steps)[..., None] + start  # (12, 12, M)
        self._inner = self._wide[REACH : REACH + SIDE, REACH : REACH + SIDE]
        # Where those pixels are among the kept values; one further place holds 0 for all that are not kept.
        kept = self._inner.numel()
        places = torch.full((batch * (self._rows * SIDE + 2 * REACH) * pitch,), kept, device=unknown.device)
        places[self._inner.flatten()] = torch.arange(kept, device=unknown.device)
        self._places = places[self._wide.flatten()]

    @property
    def count(self) -> int:
        return len(self._square)

    def _padded(self, planes: Tensor, margin: int) -> Tensor:
        """(..., H, W) with zeros up to whole squares, and a margin all around."""
        height, width = planes.shape[-2:]
        bottom, right = self._rows * SIDE - height + margin, self._cols * SIDE - width + margin
        return F.pad(planes, (margin, right, margin, bottom))

    def take(self, plane: Tensor, around: bool = False) -> Tensor:
        """Values of a plane (B, H, W) as (8, 8, M), or (12, 12, M) with the pixels around each square."""
        places = self._wide if around else self._inner
        return self._padded(plane, REACH).flatten().index_select(0, places.flatten()).view(places.shape)

    def put(self, values: Tensor) -> Tensor:
        """Plane (B, H, W) of (8, 8, M), 0 elsewhere."""
        batch, height, width = self._shape
        plane = values.new_zeros(batch, self._rows * SIDE + 2 * REACH, self._cols * SIDE + 2 * REACH)
        plane.view(-1)[self._inner.flatten()] = values.flatten()
        return plane[:, REACH : REACH + height, REACH : REACH + width]

    def with_surroundings(self, values: Tensor) -> Tensor:
        """(8, 8, M) -> (12, 12, M): with the pixels around each square, 0 where none are kept."""
        padded = torch.cat([values.flatten(), values.new_zeros(1)])
        return padded.index_select(0, self._places).view(_WIDE, _WIDE, -1)

    def dot(self, first: Tensor, second: Tensor) -> Tensor:
        """Inner product within each picture, repeated for its squares: two of (8, 8, M) -> (M)."""
        return (self._members @ (first * second).sum(dim=(0, 1)))[self._picture]

    def to_nodes(self, corners: Tensor) -> Tensor:
        """Sums at the corners of squares: (C, 2, 2, M) -> (B, C, rows + 1, cols + 1)."""
        batch = self._shape[0]
        planes = corners.new_zeros(len(corners), 2, 2, batch * self._rows * self._cols)
        planes[..., self._square] = corners
        planes = planes.view(-1, 2, 2, batch, self._rows, self._cols)
        nodes = corners.new_zeros(len(corners), batch, self._rows + 1, self._cols + 1)
        for down in (0, 1):
            for right in (0, 1):
                nodes[:, :, down : self._rows + down, right : self._cols + right] += planes[:, down, right]
        return nodes.transpose(0, 1)

    def from_nodes(self, nodes: Tensor) -> Tensor:
        """Values at the corners of squares: (B, C, rows + 1, cols + 1) -> (C, 2, 2, M)."""
        nodes = nodes.transpose(0, 1)
        corners = [
            nodes[:, :, down : self._rows + down, right : self._cols + right].flatten(1).index_select(1, self._square)
            for down in (0, 1)
            for right in (0, 1)
        ]
        return torch.stack(corners, dim=1).unflatten(1, (2, 2))
