"""Preconditioner for the matting Laplacian: corrections that are locally linear in colour."""

import torch
from torch import Tensor

from .cells import SIDE, Cells

GRIDS = 5  # of nodes, the finest SIDE pixels apart, each further one twice as coarse
HAT_STIFFNESS = 0.3  # estimate of a correction's energy inside the unknown region


class Corrections:
    """Approximate inverse of the matrix on locally linear colour models: (8, 8, M) -> (8, 8, M).

    Args:
        cells: the squares that hold unknown pixels.
        image: (B, 3, H, W).
        mask: (B, H, W), 1 where unknown.
        held: (B, H, W), what holds corrections besides HAT_STIFFNESS.
    """

    def __init__(self, cells: Cells, image: Tensor, mask: Tensor, held: Tensor) -> None:
        self._cells = cells
        height, width = mask.shape[-2:]
        count = mask.sum(dim=(1, 2)).clamp(min=1)[:, None, None, None]
        mean = (image * mask[:, None]).sum(dim=(2, 3), keepdim=True) / count
        planes = [mask, *((image - mean) * mask[:, None]).unbind(dim=1)]  # four of (B, H, W)
        self._basis = torch.stack([cells.take(plane) for plane in planes])  # (4, 8, 8, M)
        rise = (torch.arange(SIDE, dtype=image.dtype, device=image.device) / SIDE)[:, None]
        ends = torch.cat([1 - rise, rise], dim=1)  # (8, 2): share of each end of a square's side
        self._shares = torch.einsum("ya,xb->abyx", ends, ends).reshape(4, -1)  # (corners, 8 * 8)
        rows, cols = (
            _hats(height, -(-height // SIDE) + 1, SIDE, image),
            _hats(width, -(-width // SIDE) + 1, SIDE, image),
        )
        self._coarser: list[tuple[Tensor, Tensor]] = []
        self._inverses: list[Tensor] = []  # per grid (B, rows, cols, 4, 4)
        for grid in range(GRIDS):
            if grid:
                steps = _doubling(rows.shape[1], image), _doubling(cols.shape[1], image)
                self._coarser.append(steps)
                rows, cols = rows @ steps[0], cols @ steps[1]
            stiffness = HAT_STIFFNESS / (SIDE << grid) ** 2 + held
            self._inverses.append(_inverses(planes, rows.square(), cols.square(), stiffness))

    def __call__(self, residual: Tensor) -> Tensor:
        weighted = (self._basis * residual).view(len(self._basis), SIDE * SIDE, -1)
        corners = (self._shares @ weighted).unflatten(1, (2, 2))  # (4, 2, 2, M)
        sums = [self._cells.to_nodes(corners)]  # per grid (B, 4, rows, cols)
        for rows, cols in self._coarser:
            sums.append(rows.t() @ sums[-1] @ cols)
        pairs = zip(self._inverses, sums, strict=True)
        models = [torch.einsum("bhwij,bjhw->bihw", inverse, part) for inverse, part in pairs]
        total = models[-1]
        for model, (rows, cols) in zip(models[-2::-1], self._coarser[::-1], strict=True):
            total = rows @ total @ cols.t() + model
        values = self._shares.t() @ self._cells.from_nodes(total).flatten(1, 2)  # (4, 8 * 8, M)
        return (values.view_as(self._basis) * self._basis).sum(dim=0)


def _inverses(planes: list[Tensor], rows: Tensor, cols: Tensor, stiffness: Tensor) -> Tensor:
    """Inverses of the 4 x 4 matrices of single nodes: (B, rows, cols, 4, 4).

    Args:
        planes: four of (B, H, W).
        rows, cols: squared hat functions, (H, rows) and (W, cols).
        stiffness: (B, H, W).
    """
    size = len(planes)
    matrices = rows.new_empty(len(stiffness), rows.shape[1], cols.shape[1], size, size, device="cpu").double()
    for first in range(size):
        for second in range(first, size):
            sums = rows.t() @ (planes[first] * planes[second] * stiffness) @ cols
            matrices[..., first, second] = matrices[..., second, first] = sums.cpu()
    diagonal = matrices.diagonal(dim1=-2, dim2=-1)
    return torch.linalg.inv(matrices + torch.diag_embed(1e-4 * diagonal + 1e-6)).to(stiffness)


def _hats(length: int, nodes: int, spacing: int, like: Tensor) -> Tensor:
    """Hat functions (length, nodes): 1 at their node, 0 at the others."""
    positions = torch.arange(length, dtype=like.dtype, device=like.device) / spacing
    return (1 - (positions[:, None] - torch.arange(nodes, device=like.device)).abs()).clamp_(min=0)


def _doubling(nodes: int, like: Tensor) -> Tensor:
    """Hat functions at twice the distance on a line of nodes."""
    return _hats(nodes, nodes // 2 + 1, 2, like)
