"""Alpha of unknown pixels from nearby known colours, with a confidence.

Colours on the way to known pixels, up, down, left and right, and a smooth continuation of all known colours are the
candidates; of all pairs of a foreground and a background, the one that explains the pixel best and is near gives alpha.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTHED_PX = 5  # side of the square over which known colours are averaged
COLOUR_NOISE = 6 / 255  # distance of a pixel from the line between two colours that counts as one
DETOUR_COST = 0.15  # of a candidate twice as far away as the nearest
CONTRAST = 0.02  # squared distance of two colours at which the confidence is halved


def sampled_alpha(image: Tensor, foreground: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """Alpha and confidence in [0, 1], 0 at known pixels.

    Args:
        image: (3, H, W) in [0, 1].
        foreground, background: (H, W) bool.

    Returns:
        two of (H, W).
    """
    unknown = ~(foreground | background)
    pixels = image[:, unknown]  # (3, N)
    alpha, contrast = torch.zeros_like(pixels[0]), torch.zeros_like(pixels[0])
    cost = torch.full_like(alpha, torch.inf)
    behind = _candidates(image, background, unknown)
    for colour, detour in _candidates(image, foreground, unknown):
        for other, other_detour in behind:
            difference = colour - other
            square = difference.square().sum(dim=0)
            share = (((pixels - other) * difference).sum(dim=0) / (square + 1e-3)).clamp_(0, 1)
            distance = (pixels - other - share * difference).square().sum(dim=0).sqrt_()
            found = distance / COLOUR_NOISE + DETOUR_COST * (detour + other_detour)
            better = found < cost
            cost = torch.where(better, found, cost)
            alpha, contrast = torch.where(better, share, alpha), torch.where(better, square, contrast)
    confidence = torch.exp(-cost) * contrast / (contrast + CONTRAST)
    return tuple(image.new_zeros(unknown.shape).masked_scatter(unknown, values) for values in (alpha, confidence))


def _candidates(image: Tensor, known: Tensor, unknown: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Candidate colours (3, N) and their excess distances (N) per unknown pixel.

    Args:
        image: (3, H, W).
        known: (H, W) bool; where the colours are taken from.
        unknown: (H, W) bool, N of them.
    """
    sums = _smoothed(torch.cat([image * known, known.to(image)[None]]))
    smooth = sums[:-1] / sums[-1:].clamp(min=1e-6)
    farthest = float(sum(known.shape))
    colours, distances = [], []
    for axis in (0, 1):
        for backwards in (False, True):
            index, distance = _nearest(known, axis, backwards)
            colours.append(smooth.flatten(1)[:, index[unknown]])
            distances.append(distance[unknown].to(image.dtype).clamp(max=farthest))
    nearest = torch.stack(distances).amin(dim=0)
    colours.append(fill(image, known)[:, unknown])
    distances.append(nearest)
    unseen = [torch.where(distance < farthest, 0, torch.inf) for distance in distances[:-1]]
    detours = [distance / (nearest + 1) for distance in distances]
    detours[:-1] = [detour + none for detour, none in zip(detours[:-1], unseen, strict=True)]
    return list(zip(colours, detours, strict=True))


def _smoothed(planes: Tensor) -> Tensor:
    """Means over squares of SMOOTHED_PX, zeros beyond the border counted: (C, H, W) -> (C, H, W)."""
    for window in ((SMOOTHED_PX, 1), (1, SMOOTHED_PX)):
        planes = F.avg_pool2d(planes[None], window, 1, tuple(side // 2 for side in window))[0]
    return planes


def _nearest(known: Tensor, axis: int, backwards: bool) -> tuple[Tensor, Tensor]:
    """Flat index and distance of the last known pixel along an axis.

    The distance is huge where there is none.

    Args:
        known: (H, W) bool.
        axis: 0 down, 1 to the right.
        backwards: up, or to the left, instead.
    """
    height, width = known.shape
    marked = known.flip(axis) if backwards else known
    positions = torch.arange(known.shape[axis], device=known.device)
    positions = (positions[:, None] if axis == 0 else positions).expand(height, width)
    last = torch.where(marked, positions, -height - width).cummax(dim=axis).values
    distance = positions - last
    if backwards:
        last, distance = (known.shape[axis] - 1 - last).flip(axis), distance.flip(axis)
    last = last.clamp(0, known.shape[axis] - 1)
    across = torch.arange(known.shape[1 - axis], device=known.device)
    return (last * width + across if axis == 0 else across[:, None] * width + last), distance


def fill(colours: Tensor, known: Tensor) -> Tensor:
    """Extend known colours over all pixels by averages of growing squares.

    Args:
        colours: (C, H, W).
        known: (H, W) bool.
    """
    weights = known.to(colours)[None, None]
    levels = [(colours[None] * weights, weights)]
    while max(levels[-1][1].shape[-2:]) > 1:
        pooled = (F.avg_pool2d(part, 2, ceil_mode=True, count_include_pad=False) for part in levels[-1])
        levels.append(tuple(pooled))
    filled = None
    for sums, weights in reversed(levels):
        mean = sums / weights.clamp(min=1e-6)
        if filled is not None:
            height, width = weights.shape[-2:]
            wider = F.interpolate(filled, scale_factor=2, mode="bilinear")[..., :height, :width]
            mean = torch.lerp(wider, mean, (4 * weights).clamp(max=1))
        filled = mean
    return filled[0]
