"""Foreground colours of a matte: multi-level estimation (Germer, Uelwer, Conrad, Harmeling 2020) as tensor operations.

Colours F and B with F * alpha + B * (1 - alpha) = image are relaxed from a single pixel up to the full size, smooth
where alpha is. The published solver walks from pixel to pixel; here all pixels of one colour of a checkerboard change
at once, and the finest levels change only the soft ones and their surroundings: nothing else is asked for there.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

REGULARISATION = 1e-5
SMALL_SIDE_PX, SMALL_SWEEPS, BIG_SWEEPS = 32, 10, 2
SURE = 0.9  # alphas above this, or below one minus this, give the colours to start with
_NEAR_PX = 1
_WIDE_PX = 3
_START_SIDE_PX = 1024  # the colours to start with are taken from so many rows and columns
_CHUNK = 1 << 15  # pixels at a time: their tensors stay in the processor's cache


def estimate_foreground(image: Tensor, alpha: Tensor) -> Tensor:
    """Colours that the object would have without its background.

    Args:
        image: (H, W, 3) uint8, uint16 or float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1], on the same device.

    Returns:
        (H, W, 3) float32 in [0, 1]. Where alpha is 1, and far from the object, that is the image itself.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.shape[:2] != alpha.shape or not alpha.numel():
        raise ValueError(
            f"image is {tuple(image.shape)} and alpha {tuple(alpha.shape)}; they must be (H, W, 3) and (H, W)"
        )
    height, width = alpha.shape
    levels = math.ceil(math.log2(max(height, width))) if max(height, width) > 1 else 0
    state, size = _start(image, alpha.contiguous()), (1, 1)  # (h * w, 6): F and B
    for level in range(levels):
        finer = round(height ** (level / levels)), round(width ** (level / levels))
        state = state.index_select(0, _parents(finer, size, state.device))
        pixels, opacity = to_unit(_sample(image, finer)), _sample(alpha, finer)
        changing = (
            _grow(_soft(opacity), _WIDE_PX) if level >= levels - 2 else torch.ones_like(opacity, dtype=torch.bool)
        )
        _relax_(state, pixels, opacity, changing, None)
        size = finer
    return _finish(to_unit(image), alpha, state, size)


def to_unit(image: Tensor) -> Tensor:
    """uint8, uint16 or float image -> new float32 in [0, 1]."""
    if image.dtype == torch.uint8:
        return image.float().div_(255)
    if image.dtype == torch.uint16:
        return image.to(torch.int32).float().div_(65535)
    return image.to(torch.float32, copy=True)


def _start(image: Tensor, alpha: Tensor) -> Tensor:
    """Mean colours of what is surely foreground and surely background, (1, 6)."""
    size = tuple(min(side, _START_SIDE_PX) for side in alpha.shape)
    image, alpha = to_unit(_sample(image, size)), _sample(alpha, size)
    sure = torch.stack([alpha > SURE, alpha < 1 - SURE]).flatten(1).float()  # (2, h*w)
    return ((sure @ image.view(-1, 3)) / (sure.sum(1, keepdim=True) + 1e-5)).view(1, 6)


def _finish(image: Tensor, alpha: Tensor, state: Tensor, size: tuple[int, int]) -> Tensor:
    """The finest level, of which only the soft pixels and their surroundings are ever stored."""
    changing = _grow(_soft(alpha), _NEAR_PX)
    stored = _where(_grow(changing, 1))
    position = torch.empty(alpha.numel(), dtype=torch.int32, device=alpha.device)  # read only where it is set
    position[stored] = torch.arange(len(stored), dtype=torch.int32, device=alpha.device)
    fine = state.index_select(0, _parents(alpha.shape, size, state.device).index_select(0, stored))
    _relax_(fine, image, alpha, changing, position)
    solved = _where(changing & (alpha < 1))
    colours = fine.index_select(0, position.index_select(0, solved))[:, :3]
    image.view(-1, 3).index_copy_(0, solved.long(), colours)
    return image


def _relax_(state: Tensor, image: Tensor, alpha: Tensor, changing: Tensor, position: Tensor | None) -> None:
    """Red-black Gauss-Seidel on the given pixels, in place.

    Args:
        state: (n, 6) colours F and B, one row a pixel, or one for each pixel that has a `position`.
        image, alpha: (h, w, 3) and (h, w) of this level.
        changing: (h, w) bool, the pixels to relax.
        position: (h * w,) row of `state` of each pixel; None if they are the same.
    """
    height, width = alpha.shape
    y, x = (torch.arange(side, device=alpha.device) for side in (height, width))
    odd = ((y[:, None] ^ x) & 1).bool()
    halves = _where(changing & ~odd), _where(changing & odd)
    chunks = [chunk for rows in halves for chunk in rows.split(_CHUNK) if len(chunk)]
    equations = [_equations(image, alpha, chunk, position) for chunk in chunks]
    sweeps = SMALL_SWEEPS if max(height, width) <= SMALL_SIDE_PX else BIG_SWEEPS
    for _ in range(sweeps):
        for target, neighbours, weights, pixels, cover, gain in equations:
            # One fused gather and weighted sum: the mean of the four neighbours.
            mean = F.embedding_bag(neighbours, state, per_sample_weights=weights, mode="sum")  # (m, 6)
            fore, back = mean[:, :3], mean[:, 3:]
            residual = pixels - back - cover * (fore - back)
            residual *= gain
            fore.addcmul_(residual, cover)
            back.addcmul_(residual, 1 - cover)
            state.index_copy_(0, target, mean.clamp_(0, 1))


def _equations(image: Tensor, alpha: Tensor, rows: Tensor, position: Tensor | None) -> tuple[Tensor, ...]:
    """What stays the same from sweep to sweep for pixels of one colour of the checkerboard.

    With a = alpha, b = 1 - a, neighbours' weights that sum to s and their mean colours (Fm, Bm), the least-squares
    colours of a pixel are Fm + a * r and Bm + b * r, where r = (image - a * Fm - b * Bm) / (s + a^2 + b^2).
    """
    height, width = alpha.shape
    column, flat = rows % width, alpha.flatten()
    # A pixel on the border is its own neighbour.
    left, right = rows - (column > 0).int(), rows + (column < width - 1).int()
    up, down = rows - width * (rows >= width).int(), rows + width * (rows < (height - 1) * width).int()
    neighbours = torch.stack([left, right, up, down], dim=1)  # (m, 4)
    cover = flat.index_select(0, rows)[:, None]
    weights = (_take(flat, neighbours) - cover).abs_().add_(REGULARISATION)
    total = weights.sum(1, keepdim=True)
    gain = (total + cover**2 + (1 - cover) ** 2).reciprocal_()
    pixels = image.view(-1, 3).index_select(0, rows)
    if position is not None:
        rows, neighbours = position.index_select(0, rows), _take(position, neighbours)
    return rows.long(), neighbours, weights.div_(total), pixels, cover, gain


def _take(flat: Tensor, indices: Tensor) -> Tensor:
    return flat.index_select(0, indices.flatten()).view(indices.shape)  # several times quicker than flat[indices]


def _where(mask: Tensor) -> Tensor:
    """Flat indices of the true pixels."""
    return mask.flatten().nonzero()[:, 0].int()


def _soft(alpha: Tensor) -> Tensor:
    return (alpha > 0) & (alpha < 1)


def _grow(mask: Tensor, steps: int) -> Tensor:
    """Dilate a bool mask (H, W) to the four neighbours, `steps` times."""
    for _ in range(steps):
        grown = mask.clone()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        grown[:, 1:] |= mask[:, :-1]
        grown[:, :-1] |= mask[:, 1:]
        mask = grown
    return mask


def _nearest(count: int, source_count: int, device: torch.device) -> Tensor:
    return (torch.arange(count, device=device) * source_count // count).int()


def _parents(size: tuple[int, int], coarser: tuple[int, int], device: torch.device) -> Tensor:
    """(h * w,) flat indices into the coarser level."""
    y, x = (_nearest(fine, coarse, device) for fine, coarse in zip(size, coarser, strict=True))
    return ((y * coarser[1])[:, None] + x).flatten()


def _sample(layer: Tensor, size: tuple[int, int]) -> Tensor:
    y, x = (_nearest(count, source, layer.device) for count, source in zip(size, layer.shape[:2], strict=True))
    return layer.index_select(0, y).index_select(1, x)
