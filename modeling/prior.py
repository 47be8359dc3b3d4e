"""Closed-form alpha as a network input, in bounded memory."""

import torch
from torch import Tensor

from .closed_form.solver import closed_form
from .resizing import enlarge, enlarging_cost, reduce

PRIOR_PX = 640_000  # pixels of the largest picture that is solved as it is; larger ones are reduced to it
_SOLVER_BYTES = 500  # per pixel that is solved, all of them unknown: coefficients, samples, vectors (measured)
_ENLARGED_BYTES = 19  # per pixel of a larger picture: one channel and the alphas in float32, the prior


def closed_form_prior(image: Tensor, trimap: Tensor) -> Tensor:
    """Closed-form alpha, 0 and 255 where the trimap is known.

    Args:
        image: (B, 3, H, W) uint8 RGB.
        trimap: (B, 1, H, W) uint8 of 0, 128, 255.

    Returns:
        (B, 1, H, W) uint8.
    """
    rows, cols = trimap.shape[-2:]
    if rows * cols <= PRIOR_PX:
        alpha = closed_form(image.float() / 255, trimap.float() / 255)
    else:
        pairs = zip(image.split(1), trimap.split(1), strict=True)
        alpha = torch.cat([_solved_smaller(*pair, *_smaller(rows, cols)) for pair in pairs])
    return alpha.mul_(255).round_().to(torch.uint8)


def _smaller(rows: int, cols: int) -> tuple[int, int]:
    """Size of about PRIOR_PX pixels in the same proportions."""
    scale = (PRIOR_PX / (rows * cols)) ** 0.5
    return max(int(rows * scale), 1), max(int(cols * scale), 1)


def _solved_smaller(image: Tensor, trimap: Tensor, rows: int, cols: int) -> Tensor:
    """Alpha (1, 1, H, W), solved at rows x cols pixels."""
    small, levels = reduce(image, trimap, rows, cols)
    return enlarge(closed_form(small.float() / 255, levels.float() / 255), small, image, trimap)


def prior_cost(rows: int, cols: int) -> int:
    """Upper estimate in bytes for the prior of a picture, itself included."""
    if rows * cols <= PRIOR_PX:
        return (_SOLVER_BYTES + 1) * rows * cols
    return _SOLVER_BYTES * PRIOR_PX + _ENLARGED_BYTES * rows * cols + enlarging_cost(*_smaller(rows, cols))
