"""Reduced pictures and trimaps, and enlarged alphas that follow the picture's edges.

The enlarged alpha lacks the detail that reducing removed; a local linear model returns it. In a small window
alpha = a * colour + b, so

    alpha(full) = enlarged alpha + a * (picture - enlarged reduced picture),

a fast guided filter (He and Sun 2015) of what was lost, in tiles. Pictures without finer detail are not changed by it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .inputs import is_unknown
from .tiles import CELL_PX, cover, unknown_cells

RADIUS_PX, SMOOTHING = 2, 2e-4  # of the linear models: half a window's side, variance of colours that counts as noise
TILE_PX = 512 * 512
_TILE_BYTES = 80  # per pixel of a tile: coordinates, samples and picture in float32
_REDUCED_BYTES = 200  # per pixel of the reduced picture: moments, slopes, samples


def reduce(image: Tensor, trimap: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Average colours; known are only pixels all of whose area is.

    Args:
        image: (1, 3, H, W) uint8.
        trimap: (1, 1, H, W) uint8 of 0, 128, 255.

    Returns:
        (1, 3, height, width) and (1, 1, height, width), as the arguments.
    """
    smaller = _averaged(image, height, width)
    known = torch.cat([trimap == 0, trimap == 255], dim=1).to(torch.uint8) * 255
    background, foreground = (_averaged(known, height, width) == 255).split(1, dim=1)
    levels = torch.full_like(background, 128, dtype=torch.uint8)
    return smaller, levels.masked_fill_(background, 0).masked_fill_(foreground, 255)


def _averaged(pixels: Tensor, height: int, width: int) -> Tensor:
    """Area means as uint8, channel by channel to save memory."""
    means = [F.adaptive_avg_pool2d(channel.float(), (height, width)) for channel in pixels.split(1, dim=1)]
    return torch.cat(means, dim=1).round_().to(torch.uint8)


def enlarge(alpha: Tensor, reduced: Tensor, image: Tensor, trimap: Tensor, tile_px: int = TILE_PX) -> Tensor:
    """Alpha at full size, exact where the trimap knows it.

    Args:
        alpha: (1, 1, h, w) float32, of the reduced picture.
        reduced: (1, 3, h, w) uint8.
        image: (1, 3, H, W) uint8.
        trimap: (1, 1, H, W) uint8 of 0, 128, 255.

    Returns:
        (1, 1, H, W) float32 in [0, 1].
    """
    rows, cols = image.shape[-2:]
    small = reduced.float() / 255
    slopes = linear_models(small, alpha)
    coarse = torch.cat([alpha, small], dim=1)  # (1, 4, h, w)
    full = (trimap == 255).float()
    for box in cover(unknown_cells(trimap, -(-rows // CELL_PX), -(-cols // CELL_PX)), tile_px):
        top, bottom, left, right = box.pixels()
        bottom, right = min(bottom, rows), min(right, cols)
        grid = _positions(top, bottom, left, right, rows, cols).to(alpha.device)
        enlarged = F.grid_sample(coarse, grid, mode="bicubic", padding_mode="border", align_corners=False)
        slope = F.grid_sample(slopes, grid, mode="bilinear", padding_mode="border", align_corners=False)
        lost = image[..., top:bottom, left:right].float() / 255 - enlarged[:, 1:]  # (1, 3, bottom - top, right - left)
        fine = (enlarged[:, :1] + (slope * lost).sum(dim=1, keepdim=True)).clamp_(0, 1)
        known = trimap[..., top:bottom, left:right]
        target = full[..., top:bottom, left:right]
        torch.where(is_unknown(known), fine, target, out=target)
    return full


def _positions(top: int, bottom: int, left: int, right: int, rows: int, cols: int) -> Tensor:
    """Pixel centres (1, h, w, 2) as x and y in [-1, 1].

    The picture has rows x cols pixels.
    """
    y = (torch.arange(top, bottom) + 0.5) * (2 / rows) - 1
    x = (torch.arange(left, right) + 0.5) * (2 / cols) - 1
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]


def linear_models(image: Tensor, alpha: Tensor) -> Tensor:
    """Slopes a of alpha = a * colour + b, averaged over each pixel's windows.

    Each window is fitted by least squares.

    Args:
        image: (1, 3, h, w) in [0, 1].
        alpha: (1, 1, h, w).

    Returns:
        (1, 3, h, w).
    """
    mean, mean_alpha = _windows(image), _windows(alpha)
    cross = _windows(image * alpha) - mean * mean_alpha  # (1, 3, h, w)
    r, g, b = image.split(1, dim=1)
    mean_r, mean_g, mean_b = mean.split(1, dim=1)
    rr, gg, bb = (_windows(c * c) - m * m + SMOOTHING for c, m in ((r, mean_r), (g, mean_g), (b, mean_b)))
    rg, rb, gb = _windows(r * g) - mean_r * mean_g, _windows(r * b) - mean_r * mean_b, _windows(g * b) - mean_g * mean_b
    adjugate = (gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg)  # first row; symmetric
    adjugate += (rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg)  # second from its middle, and the last entry
    determinant = rr * adjugate[0] + rg * adjugate[1] + rb * adjugate[2]
    cross_r, cross_g, cross_b = cross.split(1, dim=1)
    slope_r = adjugate[0] * cross_r + adjugate[1] * cross_g + adjugate[2] * cross_b
    slope_g = adjugate[1] * cross_r + adjugate[3] * cross_g + adjugate[4] * cross_b
    slope_b = adjugate[2] * cross_r + adjugate[4] * cross_g + adjugate[5] * cross_b
    slopes = torch.cat([slope_r, slope_g, slope_b], dim=1)  # (1, 3, h, w)
    return _windows(slopes / determinant)


def _windows(values: Tensor) -> Tensor:
    """Mean over the window around each pixel, cut at the border."""
    side = 2 * RADIUS_PX + 1
    return F.avg_pool2d(values, side, stride=1, padding=RADIUS_PX, count_include_pad=False)


def enlarging_cost(height: int, width: int) -> int:
    """Upper estimate in bytes for `enlarge`, by the reduced picture's size."""
    return _TILE_BYTES * TILE_PX + _REDUCED_BYTES * height * width
