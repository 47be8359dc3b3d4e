"""Foreground colours of a matte: multi-level estimation (Germer, Uelwer, Conrad, Harmeling 2020) as tensor operations.

Colours F and B with F * alpha + B * (1 - alpha) = image are relaxed from a single pixel up to the full size, smooth
where alpha is. The published solver walks from pixel to pixel; here all pixels of one colour of a checkerboard change
at once. Every level is worked through in boxes that stay in the processor's cache, each with a halo as wide as anything
travels while it is relaxed; boxes that no soft pixel depends on are left out. Neither changes the result.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import one_thread

REGULARISATION = 1e-5
SMALL_SIDE_PX, SMALL_SWEEPS, BIG_SWEEPS = 32, 10, 2
SURE = 0.9  # alphas above this, or below one minus this, give the colours to start with
_START_SIDE_PX = 1024  # the colours to start with are taken from so many rows and columns
_TILE_PX, _TILE_PX_ON_DEVICES = 64, 512  # even, so that boxes agree about the checkerboard; large where calls cost much
_TILES_IN_BOX = 16
_BYTES_OF_PIXEL = 60  # image at 16 bits, alpha, result, coarser levels, masks


def estimate_foreground(image: Tensor, alpha: Tensor) -> Tensor:
    """Colours that the object would have without its background.

    Args:
        image: (H, W, 3) uint8, uint16 or float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1], on the same device.

    Returns:
        (H, W, 3) float32 in [0, 1]. Where alpha is 0 or 1 that is the image itself.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.shape[:2] != alpha.shape or not alpha.numel():
        raise ValueError(
            f"image is {tuple(image.shape)} and alpha {tuple(alpha.shape)}; they must be (H, W, 3) and (H, W)"
        )
    with one_thread():  # boxes are too small for several
        return _estimate(image, alpha)


def memory_cost(height: int, width: int) -> int:
    """Upper estimate in bytes for `estimate_foreground`, inputs and result included."""
    return _BYTES_OF_PIXEL * height * width


def _estimate(image: Tensor, alpha: Tensor) -> Tensor:
    result, levels = to_unit(image), _levels(image, alpha)
    soft = (alpha > 0) & (alpha < 1)
    boxes = _boxes(soft, [level.size for level in levels])
    state = _start(image, alpha)  # (6, h, w): F and B of the level before
    for level, level_boxes in zip(levels[:-1], boxes[:-1], strict=True):
        finer = state.new_empty(6, *level.size)  # outside the boxes neither written nor read
        for box in level_boxes:
            for (rows, columns), colours in _relaxed(level, box, state):
                finer[:, rows, columns] = colours
        state = finer
    for box in boxes[-1]:
        for pixels, colours in _relaxed(levels[-1], box, state):
            part = result[pixels]
            torch.where(soft[pixels][..., None], colours[:3].permute(1, 2, 0), part, out=part)
    return result


def to_unit(image: Tensor) -> Tensor:
    """uint8, uint16 or float image -> new float32 in [0, 1]."""
    if image.dtype == torch.uint8:
        return image.float().div_(255)
    if image.dtype == torch.uint16:
        return image.to(torch.int32).float().div_(65535)
    return image.to(torch.float32, copy=True)


@dataclass(frozen=True)
class _Level:
    """Image (h, w, 3) and alpha (h, w) of one size."""

    image: Tensor
    alpha: Tensor

    @property
    def size(self) -> tuple[int, int]:
        return self.alpha.shape[0], self.alpha.shape[1]

    @property
    def sweeps(self) -> int:
        return SMALL_SWEEPS if max(self.size) <= SMALL_SIDE_PX else BIG_SWEEPS


@dataclass(frozen=True)
class _Box:
    """Pixels top <= y < bottom, left <= x < right; top and left are even."""

    top: int
    bottom: int
    left: int
    right: int


def _levels(image: Tensor, alpha: Tensor) -> list[_Level]:
    height, width = alpha.shape
    count = math.ceil(math.log2(max(height, width)))
    sizes = [(round(height ** (level / count)), round(width ** (level / count))) for level in range(count)]
    return [_Level(_sample(image, size), _sample(alpha, size)) for size in sizes] + [_Level(image, alpha)]


def _start(image: Tensor, alpha: Tensor) -> Tensor:
    """Mean colours of what is surely foreground and surely background, (6, 1, 1)."""
    size = tuple(min(side, _START_SIDE_PX) for side in alpha.shape)
    image, alpha = to_unit(_sample(image, size)), _sample(alpha, size)
    sure = torch.stack([alpha > SURE, alpha < 1 - SURE]).flatten(1).float()  # (2, h*w)
    return ((sure @ image.view(-1, 3)) / (sure.sum(1, keepdim=True) + 1e-5)).view(6, 1, 1)


def _boxes(soft: Tensor, sizes: list[tuple[int, int]]) -> list[list[_Box]]:
    """For every level, boxes around all that the soft pixels depend on.

    Args:
        soft: (H, W) bool.
        sizes: of the levels, the last (H, W).
    """
    side = _TILE_PX if soft.device.type == "cpu" else _TILE_PX_ON_DEVICES
    height, width = soft.shape
    tiles = F.pad(soft, (0, -width % side, 0, -height % side)).unflatten(1, (-1, side)).any(2)
    tiles = tiles.unflatten(0, (-1, side)).any(1).float().cpu()  # 1 where a tile is needed
    boxes = [_joined(tiles, side, sizes[-1])]
    for coarser, finer in zip(sizes[-2::-1], sizes[:0:-1], strict=True):
        rows, columns = (_parent_tiles(*lengths, side) for lengths in zip(coarser, finer, strict=True))
        tiles = (rows @ tiles @ columns.T > 0).float()
        boxes.append(_joined(tiles, side, coarser))
    return boxes[::-1]


def _parent_tiles(coarser: int, finer: int, side: int) -> Tensor:
    """(tiles of the coarser length, tiles of the finer one): 1 where a tile and its halo have parents in another."""
    parents = torch.zeros(-(-coarser // side), -(-finer // side))
    for tile in range(parents.shape[1]):
        first, last = max(0, tile * side - _halo(BIG_SWEEPS)), min(finer, (tile + 1) * side + _halo(BIG_SWEEPS)) - 1
        parents[first * coarser // finer // side : last * coarser // finer // side + 1, tile] = 1
    return parents


def _joined(tiles: Tensor, side: int, size: tuple[int, int]) -> list[_Box]:
    """Needed tiles that lie side by side, a few in one box."""
    height, width = size
    boxes = []
    for row, needed in enumerate(tiles.tolist()):
        column = 0
        for value, run in itertools.groupby(needed):
            end = column + len(list(run))
            for first in range(column, end, _TILES_IN_BOX) if value else ():
                right = min(width, min(end, first + _TILES_IN_BOX) * side)
                boxes.append(_Box(row * side, min(height, (row + 1) * side), first * side, right))
            column = end
    return boxes


def _halo(sweeps: int) -> int:
    """Context of a box in pixels: half a sweep reads one further."""
    return 2 * sweeps


def _relaxed(level: _Level, box: _Box, coarser: Tensor) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """Red-black Gauss-Seidel on one box.

    The box, its halo, and beyond the picture's border copies of the pixels there, is taken apart into four lattices of
    every second row and column. Each is a row of numbers whose neighbours are rows of the other lattices, shifted.

    Args:
        coarser: (6, h, w) colours of the level before.

    Yields:
        of each lattice the rows and columns in the level, and the colours (6, h, w) of these pixels.
    """
    halo = _halo(level.sweeps)
    spans = (box.top - halo, box.bottom + halo), (box.left - halo, box.right + halo)
    rows, columns = (
        torch.arange(first, last + (last & 1), device=coarser.device).clamp_(0, length - 1)
        for (first, last), length in zip(spans, level.size, strict=True)
    )
    image, alpha = (_taken(layer, rows, columns) for layer in (level.image, level.alpha))
    height, width = level.size
    above, beside = rows * coarser.shape[1] // height * coarser.shape[2], columns * coarser.shape[2] // width
    size = len(rows) // 2, len(columns) // 2
    parities = list(itertools.product((0, 1), (0, 1)))
    known, states = [], []
    for y, x in parities:
        pixels = to_unit(image[y::2, x::2]).permute(2, 0, 1)
        known.append(torch.cat([pixels, alpha[None, y::2, x::2]]).flatten(1))  # (4, n)
        parents = above[y::2, None] + beside[None, x::2]
        states.append(coarser.flatten(1).index_select(1, parents.flatten()))  # (6, n)
    equations = [_equations(states, known, index, size) for index in (0, 3, 1, 2)]  # red ones first
    for _ in range(level.sweeps):
        for equation in equations:
            _update_(*equation)
    margin = halo // 2
    for (y, x), state in zip(parities, states, strict=True):
        place = slice(box.top + y, box.bottom, 2), slice(box.left + x, box.right, 2)
        count = [len(range(part.start, part.stop, 2)) for part in place]
        yield place, state.view(6, *size)[:, margin : margin + count[0], margin : margin + count[1]]


def _equations(states: list[Tensor], known: list[Tensor], index: int, size: tuple[int, int]) -> tuple:
    """Constants of all sweeps for one of the four lattices.

    With a = alpha, b = 1 - a, neighbours' weights that sum to s and their mean colours (Fm, Bm), the least-squares
    colours of a pixel are Fm + a * r and Bm + b * r, where r = (image - a * Fm - b * Bm) / (s + a^2 + b^2).
    """
    y, x = divmod(index, 2)
    width, count = size[1], size[0] * size[1]
    neighbours = [(index ^ 1, x - 1), (index ^ 1, x), (index ^ 2, (y - 1) * width), (index ^ 2, y * width)]
    # Rows run into each other, and those at two sides stay as they are; both make only the halo wrong.
    start, stop = (1 - y) * width + y * (1 - x), count - y * width - (1 - y) * x
    pixels, cover = known[index][:3, start:stop], known[index][3, start:stop]
    weights = torch.stack([known[other][3, start + shift : stop + shift] for other, shift in neighbours])
    weights.sub_(cover).abs_().add_(REGULARISATION)  # (4, m)
    total, rest = weights.sum(0), 1 - cover
    weights /= total
    gain = total.addcmul_(cover, cover).addcmul_(rest, rest).reciprocal_()
    shifted = [states[other][:, start + shift : stop + shift] for other, shift in neighbours]
    target = states[index][:, start:stop]
    return target, target[:3], target[3:], list(zip(shifted, weights, strict=True)), pixels, cover, rest, gain


def _update_(
    target: Tensor,
    fore: Tensor,
    back: Tensor,
    neighbours: list[tuple[Tensor, Tensor]],
    pixels: Tensor,
    cover: Tensor,
    rest: Tensor,
    gain: Tensor,
) -> None:
    """One step of one lattice by `_equations`.

    `fore` and `back` are the halves of `target` (6, m).
    """
    torch.mul(*neighbours[0], out=target)
    for colours, weight in neighbours[1:]:
        target.addcmul_(colours, weight)
    residual = torch.addcmul(pixels, fore, cover, value=-1).addcmul_(back, rest, value=-1).mul_(gain)
    fore.addcmul_(residual, cover)
    back.addcmul_(residual, rest)
    target.clamp_(0, 1)


def _taken(layer: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """layer[rows][:, columns], a view where they are neighbours."""
    (top, bottom), (left, right) = ((int(indices[0]), int(indices[-1]) + 1) for indices in (rows, columns))
    part = layer[top:bottom, left:right]
    if part.shape[:2] == (len(rows), len(columns)):
        return part
    return part.index_select(0, rows - top).index_select(1, columns - left)


def _sample(layer: Tensor, size: tuple[int, int]) -> Tensor:
    y, x = (
        torch.arange(count, device=layer.device) * length // count
        for count, length in zip(size, layer.shape[:2], strict=True)
    )
    return layer.index_select(0, y).index_select(1, x)
