"""Closed-form matting (Levin, Lischinski and Weiss 2008) in a fixed number of steps, for batches of pictures.

In every window of 3 x 3 pixels, alpha is held to a linear function of colour; known pixels keep their alpha. That is a
sparse linear system, solved here by conjugate gradients. Errors of the form

    sum over nodes n of hat_n(pixel) * (a_n * colour + b_n),

with hat functions on a coarse grid, cost next to no energy, so that plain conjugate gradients take hundreds of steps to
remove them. The preconditioner corrects them directly, on nested grids of nodes; 40 steps then suffice. The matrix is
kept as planes of the picture's size, one per neighbour, so nothing but dense arithmetic is needed.

What known colours say about a pixel (`colour_samples`) holds alpha softly. It decides where the linear models hardly
do, as in a hole that no known background touches.
"""

import torch
from torch import Tensor

from .colour_samples import sampled_alpha
from .strips import row_strips

EPSILON = 1e-8  # variance of colours that counts as noise
STEPS = 40
SPACING_PX, GRIDS = 8, 5  # of the finest grid of nodes; each further grid is twice as coarse
SAMPLE_WEIGHT = 8e-3  # of the squared distance from the sampled alpha where that is certain
STRIP_PX = 2**16  # windows whose colours are whitened at a time
HAT_STIFFNESS, BORDER_STIFFNESS = 0.3, 0.1  # estimates of a correction's energy: inside, and next to known pixels
_TINY = 1e-20
_WINDOW = [(dy, dx) for dy in range(3) for dx in range(3)]
_NEIGHBOURS = [(0, 1), (0, 2)] + [(dy, dx) for dy in (1, 2) for dx in range(-2, 3)]  # those that follow a pixel


@torch.no_grad()
def closed_form(image: Tensor, trimap: Tensor, steps: int = STEPS) -> Tensor:
    """Alpha that is locally linear in colour.

    Args:
        image: (B, 3, H, W) float32 in [0, 1].
        trimap: (B, 1, H, W) of 0 and 1 where alpha is known, other values elsewhere.
        steps: of conjugate gradients.

    Returns:
        (B, 1, H, W) in [0, 1]; 0.5 in the unknown region of pictures without known foreground or background.
    """
    if image.device.type == "mps":  # has no float64
        return closed_form(image.cpu(), trimap.cpu(), steps).to(image.device)
    with torch.autocast(image.device.type, enabled=False):  # the system is too ill-conditioned for half precision
        return _solve(image, trimap[:, 0] == 1, trimap[:, 0] == 0, steps)[:, None]


def _solve(image: Tensor, foreground: Tensor, background: Tensor, steps: int) -> Tensor:
    """Alpha (B, H, W) from (B, 3, H, W) and two masks (B, H, W)."""
    unknown = ~(foreground | background)
    stencil = matting_laplacian(image)
    mask = unknown.float()
    right = -multiply(stencil, foreground.float()) * mask
    border = (multiply(stencil, mask) * mask).clamp_(min=0)
    pairs = zip(image, foreground, background, strict=True)
    sampled, confidence = map(torch.stack, zip(*(sampled_alpha(*pair) for pair in pairs), strict=True))
    hold = SAMPLE_WEIGHT * confidence.square()
    stencil[:, 0] += hold
    right += hold * sampled
    correct = _Corrections(image, mask, BORDER_STIFFNESS * border + hold)
    inverse = mask / stencil[:, 0].clamp(min=1e-6)

    solution, residual = torch.zeros_like(mask), right
    direction, energy = torch.zeros_like(mask), torch.ones_like(mask[:, :1, :1])
    for _ in range(steps):
        preconditioned = inverse * residual + correct(residual)
        previous, energy = energy, _dot(residual, preconditioned)
        direction = torch.addcmul(preconditioned, energy / previous.clamp(min=_TINY), direction)
        product = multiply(stencil, direction) * mask
        curvature = _dot(direction, product)  # not positive where rounding is all that is left
        length = torch.where(curvature > _TINY, energy / curvature.clamp(min=_TINY), 0)
        solution = torch.addcmul(solution, length, direction)
        residual = torch.addcmul(residual, length, product, value=-1)
    solvable = foreground.flatten(1).any(1) & background.flatten(1).any(1)
    solution = torch.where(solvable[:, None, None], solution.clamp_(0, 1), 0.5)
    return torch.where(unknown, solution, foreground.float())


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """Inner product per picture: (B, H, W), (B, H, W) -> (B, 1, 1)."""
    return (first * second).sum(dim=(1, 2), keepdim=True)


def matting_laplacian(image: Tensor) -> Tensor:
    """Coefficients of the matting Laplacian.

    Args:
        image: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 13, H, W): of each pixel itself, then of the 12 neighbours that follow it in reading order; the matrix is
        symmetric.
    """
    batch, _, height, width = image.shape
    stencil = image.new_zeros(batch, 1 + len(_NEIGHBOURS), height, width)
    if min(height, width) < 3:
        return stencil
    for strip in row_strips(height - 2, max(STRIP_PX // width, 1)):
        _add_windows(stencil[:, :, strip.start : strip.stop + 2], image[:, :, strip.start : strip.stop + 2])
    return stencil


def _add_windows(stencil: Tensor, image: Tensor) -> None:
    """Add the coefficients of all windows within some rows, in place."""
    rows, cols = image.shape[-2] - 2, image.shape[-1] - 2
    image = image.double()  # windows of two colours have covariances that float32 cannot hold
    whitened = _whitened([image[..., dy : dy + rows, dx : dx + cols] for dy, dx in _WINDOW])
    whitened = [pixel.to(stencil.dtype) for pixel in whitened]
    for first, (top, left) in enumerate(_WINDOW):
        for second, (other_top, other_left) in enumerate(_WINDOW[first:], first):
            share = (whitened[first] * whitened[second]).sum(dim=1).add_(1).mul_(-1 / 9)  # (B, rows, cols)
            if first == second:
                plane = 0
                share += 1
            else:
                plane = 1 + _NEIGHBOURS.index((other_top - top, other_left - left))
            stencil[:, plane, top : top + rows, left : left + cols] += share


def _whitened(pixels: list[Tensor]) -> list[Tensor]:
    """Colours of the nine pixels of each window, less their mean and divided by the root of their covariance.

    Args:
        pixels: nine of (B, 3, rows, cols); the covariance is enlarged by EPSILON / 9.
    """
    mean = sum(pixels) / 9
    centred = [pixel - mean for pixel in pixels]
    noise = EPSILON / 9

    def covariance(first: int, second: int) -> Tensor:
        return sum(pixel[:, first] * pixel[:, second] for pixel in centred) / 9

    # Cholesky factor of the 3 x 3 covariance, and substitution with it.
    root_rr = (covariance(0, 0) + noise).sqrt_()
    root_gr, root_br = covariance(0, 1) / root_rr, covariance(0, 2) / root_rr
    root_gg = (covariance(1, 1) + noise - root_gr * root_gr).clamp_(min=noise / 2).sqrt_()
    root_bg = (covariance(1, 2) - root_gr * root_br) / root_gg
    root_bb = (covariance(2, 2) + noise - root_br * root_br - root_bg * root_bg).clamp_(min=noise / 2).sqrt_()
    for pixel in centred:
        red, green, blue = pixel.unbind(dim=1)
        red /= root_rr
        green.sub_(root_gr * red).div_(root_gg)
        blue.sub_(root_br * red).sub_(root_bg * green).div_(root_bb)
    return centred


def multiply(stencil: Tensor, values: Tensor) -> Tensor:
    """Product of the matrix (B, 13, H, W) and the vector (B, H, W)."""
    height, width = values.shape[-2:]
    product = stencil[:, 0] * values
    for plane, (dy, dx) in enumerate(_NEIGHBOURS, 1):
        if dy >= height or abs(dx) >= width:
            continue
        first, last = max(0, -dx), width - max(0, dx)
        here = (slice(None), slice(0, height - dy), slice(first, last))
        there = (slice(None), slice(dy, height), slice(first + dx, last + dx))
        weights = stencil[:, plane][here]
        product[here].addcmul_(weights, values[there])
        product[there].addcmul_(weights, values[here])
    return product


class _Corrections:
    """Approximate inverse of the matrix on locally linear colour models: (B, H, W) -> (B, H, W)."""

    def __init__(self, image: Tensor, mask: Tensor, held: Tensor) -> None:
        height, width = mask.shape[-2:]
        count = mask.sum(dim=(1, 2)).clamp(min=1)[:, None, None, None]
        mean = (image * mask[:, None]).sum(dim=(2, 3), keepdim=True) / count
        self.basis = torch.cat([mask[:, None], (image - mean) * mask[:, None]], dim=1)  # (B, 4, H, W)
        self.rows, self.cols = _hats(height, SPACING_PX, image), _hats(width, SPACING_PX, image)
        self.coarser: list[tuple[Tensor, Tensor]] = []
        self.inverses: list[Tensor] = []  # per grid (B, rows, cols, 4, 4)
        rows, cols = self.rows, self.cols
        for grid in range(GRIDS):
            if grid:
                steps = _hats(rows.shape[1], 2, image), _hats(cols.shape[1], 2, image)
                self.coarser.append(steps)
                rows, cols = rows @ steps[0], cols @ steps[1]
            stiffness = HAT_STIFFNESS / (SPACING_PX << grid) ** 2 + held
            self.inverses.append(self._inverses(rows.square(), cols.square(), stiffness))

    def _inverses(self, rows: Tensor, cols: Tensor, stiffness: Tensor) -> Tensor:
        """Inverses of the 4 x 4 matrices of single nodes."""
        size = self.basis.shape[1]
        matrices = rows.new_empty(len(stiffness), rows.shape[1], cols.shape[1], size, size, device="cpu").double()
        for first in range(size):
            for second in range(first, size):
                sums = rows.t() @ (self.basis[:, first] * self.basis[:, second] * stiffness) @ cols
                matrices[..., first, second] = matrices[..., second, first] = sums.cpu()
        diagonal = matrices.diagonal(dim1=-2, dim2=-1)
        return torch.linalg.inv(matrices + torch.diag_embed(1e-4 * diagonal + 1e-6)).to(stiffness)

    def __call__(self, residual: Tensor) -> Tensor:
        sums = [self.rows.t() @ (self.basis * residual[:, None]) @ self.cols]  # per grid (B, 4, rows, cols)
        for rows, cols in self.coarser:
            sums.append(rows.t() @ sums[-1] @ cols)
        pairs = zip(self.inverses, sums, strict=True)
        models = [torch.einsum("bhwij,bjhw->bihw", inverse, part) for inverse, part in pairs]
        total = models[-1]
        for model, (rows, cols) in zip(models[-2::-1], self.coarser[::-1], strict=True):
            total = rows @ total @ cols.t() + model
        return ((self.rows @ total @ self.cols.t()) * self.basis).sum(dim=1)


def _hats(length: int, spacing: int, like: Tensor) -> Tensor:
    """(length, nodes): piecewise linear functions, each 1 at its node and 0 at the others, `spacing` apart."""
    nodes = -(-(length - 1) // spacing) + 1
    positions = torch.arange(length, dtype=like.dtype, device=like.device) / spacing
    return (1 - (positions[:, None] - torch.arange(nodes, device=like.device)).abs()).clamp_(min=0)
