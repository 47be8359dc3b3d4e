"""The matting Laplacian as planes of a picture's size, one per neighbour."""

import torch
from torch import Tensor

from ..strips import row_strips

EPSILON = 1e-8  # variance of colours that counts as noise
STRIP_PX = 2**16  # pixels whose windows are whitened at a time
_WINDOW = [(dy, dx) for dy in range(3) for dx in range(3)]
NEIGHBOURS = [(0, 1), (0, 2)] + [(dy, dx) for dy in (1, 2) for dx in range(-2, 3)]  # those that follow a pixel


def matting_laplacian(image: Tensor, unknown: Tensor) -> Tensor:
    """Matting Laplacian in the rows of unknown pixels.

    Other rows are incomplete.

    Args:
        image: (B, 3, H, W) in [0, 1].
        unknown: (B, H, W) bool.

    Returns:
        (B, 13, H, W): of each pixel itself, then of the 12 neighbours that follow it in reading order; the matrix is
        symmetric.
    """
    batch, _, height, width = image.shape
    stencil = image.new_zeros(batch, 1 + len(NEIGHBOURS), height, width)
    if min(height, width) < 3:
        return stencil
    rows = max(STRIP_PX // width, 1)
    for picture, colours, asked in zip(stencil, image, unknown, strict=True):
        for strip in row_strips(height - 2, rows):
            part = slice(strip.start, strip.stop + 2)
            windows = _windows(asked[part])
            if len(windows):
                _add_windows(picture, colours, windows + strip.start * width)
    return stencil


def _windows(unknown: Tensor) -> Tensor:
    """Indices of the first pixels of windows that touch unknown ones.

    Windows have 3 x 3 pixels; the mask is (H, W) bool.

    `unknown` is (H, W) bool.
    """
    across = unknown[:, :-2] | unknown[:, 1:-1] | unknown[:, 2:]
    touched = torch.zeros_like(unknown[:-2])
    touched[:, :-2] = across[:-2] | across[1:-1] | across[2:]
    return touched.flatten().nonzero()[:, 0]


def _add_windows(stencil: Tensor, image: Tensor, windows: Tensor) -> None:
    """Add the coefficients of windows to a picture's planes, in place.

    Args:
        stencil: (13, H, W).
        image: (3, H, W).
        windows: (N) indices of their first pixels.
    """
    width = image.shape[-1]
    places = [windows + dy * width + dx for dy, dx in _WINDOW]
    colours = image.flatten(1)
    # Windows of two colours have covariances that float32 cannot hold.
    whitened = [
        pixel.to(stencil.dtype) for pixel in _whitened([colours.index_select(1, place).double() for place in places])
    ]
    planes = stencil.flatten(1)
    for first, (top, left) in enumerate(_WINDOW):
        for second, (other_top, other_left) in enumerate(_WINDOW[first:], first):
            share = (whitened[first] * whitened[second]).sum(dim=0).add_(1).mul_(-1 / 9)  # (N)
            plane = 0
            if first == second:
                share += 1
            else:
                plane = 1 + NEIGHBOURS.index((other_top - top, other_left - left))
            planes[plane, places[first]] += share  # no place occurs twice


def _whitened(pixels: list[Tensor]) -> list[Tensor]:
    """Nine colours per window, without their mean, over the covariance's root.

    Args:
        pixels: nine of (3, N); the covariance is enlarged by EPSILON / 9.
    """
    mean = sum(pixels) / 9
    centred = [pixel - mean for pixel in pixels]
    noise = EPSILON / 9

    def covariance(first: int, second: int) -> Tensor:
        return sum(pixel[first] * pixel[second] for pixel in centred) / 9

    # Cholesky factor of the 3 x 3 covariance, and substitution with it.
    root_rr = (covariance(0, 0) + noise).sqrt_()
    root_gr, root_br = covariance(0, 1) / root_rr, covariance(0, 2) / root_rr
    root_gg = (covariance(1, 1) + noise - root_gr * root_gr).clamp_(min=noise / 2).sqrt_()
    root_bg = (covariance(1, 2) - root_gr * root_br) / root_gg
    root_bb = (covariance(2, 2) + noise - root_br * root_br - root_bg * root_bg).clamp_(min=noise / 2).sqrt_()
    for red, green, blue in centred:
        red /= root_rr
        green.sub_(root_gr * red).div_(root_gg)
        blue.sub_(root_br * red).sub_(root_bg * green).div_(root_bb)
    return centred
