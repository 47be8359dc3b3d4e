"""Closed-form alpha by preconditioned conjugate gradients, for batches of pictures.

In every window of 3 x 3 pixels, alpha is held to a linear function of colour; known pixels keep their alpha. That is a
sparse linear system. Errors of the form

    sum over nodes n of hat_n(pixel) * (a_n * colour + b_n),

with hat functions on a coarse grid, cost next to no energy, so that plain conjugate gradients take hundreds of steps to
remove them. The preconditioner corrects them directly, on nested grids of nodes; 40 steps then suffice. Only squares
with unknown pixels take part, and nothing but dense arithmetic is needed within them.

What known colours say about a pixel (`samples`) holds alpha softly. It decides where the linear models hardly
do, as in a hole that no known background touches. A rough alpha, such as a mask, may hold it too.
"""

import torch
from torch import Tensor

from .cells import REACH, SIDE, Cells
from .corrections import Corrections
from .laplacian import NEIGHBOURS, matting_laplacian
from .samples import sampled_alpha

STEPS = 40
SAMPLE_WEIGHT = 8e-3  # of the squared distance from the sampled alpha where that is certain
BORDER_STIFFNESS = 0.1  # estimate of a correction's energy next to known pixels
_TINY = 1e-20


@torch.no_grad()
def closed_form(image: Tensor, trimap: Tensor, steps: int = STEPS, held: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Alpha that is locally linear in colour.

    Args:
        image: (B, 3, H, W) float32 in [0, 1].
        trimap: (B, 1, H, W) of 0 and 1 where alpha is known, other values elsewhere.
        steps: of conjugate gradients.
        held: rough alpha in [0, 1] and weight of the squared distance from it, both (B, 1, H, W); 1 is firm.

    Returns:
        (B, 1, H, W) in [0, 1]; 0.5 in the unknown region of pictures without known foreground or background.
    """
    if image.device.type == "mps":  # has no float64
        held = held and tuple(part.cpu() for part in held)
        return closed_form(image.cpu(), trimap.cpu(), steps, held).to(image.device)
    foreground, background = trimap[:, 0] == 1, trimap[:, 0] == 0
    unknown = ~(foreground | background)
    solvable = foreground.flatten(1).any(1) & background.flatten(1).any(1) & unknown.flatten(1).any(1)
    alpha = torch.where(unknown, 0.5, foreground.to(image.dtype))
    if solvable.any():
        chosen = image[solvable], foreground[solvable], background[solvable]
        towards = held and tuple(part[solvable, 0] for part in held)
        with torch.autocast(image.device.type, enabled=False):  # the system is too ill-conditioned for half precision
            alpha[solvable] = torch.where(unknown[solvable], _solve(*chosen, steps, towards), alpha[solvable])
    return alpha[:, None]


def _solve(
    image: Tensor, foreground: Tensor, background: Tensor, steps: int, held: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Alpha (B, H, W), right where unknown, from (B, 3, H, W) and two masks (B, H, W).

    `held` is an alpha and its weight, two of (B, H, W).
    """
    unknown = ~(foreground | background)
    cells, mask = Cells(unknown), unknown.float()
    system = System(cells, image, unknown)
    inside = cells.take(mask)  # (8, 8, M), as all that follows
    right = -system.multiply(cells.take(foreground.float(), around=True)) * inside
    border = (system.multiply(cells.take(mask, around=True)) * inside).clamp_(min=0)
    pairs = zip(image, foreground, background, strict=True)
    sampled, confidence = map(torch.stack, zip(*(sampled_alpha(*pair) for pair in pairs), strict=True))
    hold = SAMPLE_WEIGHT * cells.take(confidence).square()
    right += hold * cells.take(sampled)
    if held is not None:
        weight = cells.take(held[1]) * inside
        right += weight * cells.take(held[0])
        hold += weight
    system.planes[0] += hold
    correct = Corrections(cells, image, mask, cells.put(BORDER_STIFFNESS * border + hold))
    inverse = inside / system.planes[0].clamp(min=1e-6)

    solution, residual = torch.zeros_like(right), right
    direction, energy = torch.zeros_like(right), torch.ones_like(right[0, 0])
    for _ in range(steps):
        preconditioned = inverse * residual + correct(residual)
        previous, energy = energy, cells.dot(residual, preconditioned)
        direction = torch.addcmul(preconditioned, energy / previous.clamp(min=_TINY), direction)
        product = system.multiply(cells.with_surroundings(direction)).mul_(inside)
        curvature = cells.dot(direction, product)  # not positive where rounding is all that is left
        length = torch.where(curvature > _TINY, energy / curvature.clamp(min=_TINY), 0)
        solution.addcmul_(length, direction)
        residual.addcmul_(length, product, value=-1)
    return cells.put(solution.clamp_(0, 1))


class System:
    """The matting Laplacian in the rows of squares with unknown pixels.

    Attributes:
        planes: (1 + 24, 8, 8, M) coefficients of each pixel itself and of its neighbours.
    """

    def __init__(self, cells: Cells, image: Tensor, unknown: Tensor) -> None:
        stencil = matting_laplacian(image, unknown)  # (B, 13, H, W)
        self.planes = image.new_empty(1 + 2 * len(NEIGHBOURS), SIDE, SIDE, cells.count)
        self.planes[0] = cells.take(stencil[:, 0])
        for index, (dy, dx) in enumerate(NEIGHBOURS, 1):
            wide = cells.take(stencil[:, index], around=True)
            self.planes[2 * index - 1] = wide[_shifted(0, 0)]
            self.planes[2 * index] = wide[_shifted(-dy, -dx)]  # the neighbour's coefficient for this pixel

    def multiply(self, wide: Tensor) -> Tensor:
        """Product with a vector that is given around the squares, (12, 12, M) -> (8, 8, M)."""
        product = self.planes[0] * wide[_shifted(0, 0)]
        for index, (dy, dx) in enumerate(NEIGHBOURS, 1):
            product.addcmul_(self.planes[2 * index - 1], wide[_shifted(dy, dx)])
            product.addcmul_(self.planes[2 * index], wide[_shifted(-dy, -dx)])
        return product


def _shifted(dy: int, dx: int) -> tuple[slice, slice]:
    """The part of (12, 12, M) that lies so many pixels off the squares themselves."""
    return slice(REACH + dy, REACH + dy + SIDE), slice(REACH + dx, REACH + dx + SIDE)
