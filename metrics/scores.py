"""SAD, MSE, Grad and Conn, as in Deep Image Matting's MATLAB code.

All four run on uint8 mattes. Whatever is a sum of grey levels is summed in integers, the filters of the gradient error
run in double precision, so the results do not depend on tile sizes or threads.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from data.trimap import is_unknown

METRICS = ("sad", "mse", "grad", "conn")  # in the order of every table
GRAD_SIGMA = 1.4
CONN_STEPS = 10
# A distance counts from 0.15 upwards. In units of 1/2550 every distance is an integer, and 0.15 is 382.5.
CONN_LARGEST_IGNORED = 382
TILE_PX = 256
SEED_BLOCK_PX = 16


@dataclass(frozen=True)
class Scores:
    """Errors of one matte in published units.

    SAD, Grad and Conn / 1000, MSE x 1000.

    Without counted pixels `mse` is NaN and the sums are 0; such an image belongs into no mean (see `defined`).
    """

    sad: float
    mse: float
    grad: float
    conn: float
    counted_px: int

    @property
    def defined(self) -> bool:
        """True if any pixel was counted."""
        return self.counted_px > 0


def score_pair(
    pred: np.ndarray, target: np.ndarray, trimap: np.ndarray | None = None, whole_image: bool = False
) -> Scores:
    """Score one matte.

    Args:
        pred: predicted alpha, uint8 (H, W).
        target: true alpha, uint8 (H, W).
        trimap: uint8 (H, W); exactly the pixels that are 128 count. Not looked at with `whole_image`.
        whole_image: count every pixel.
    """
    _check("pred", pred, pred)
    _check("target", target, pred)
    if whole_image:
        counted = np.ones(pred.shape, np.uint8)
    elif trimap is None:
        raise ValueError("no trimap: pass one, or set whole_image to count every pixel")
    else:
        _check("trimap", trimap, pred)
        counted = is_unknown(trimap).view(np.uint8)
    pred, target = np.ascontiguousarray(pred), np.ascontiguousarray(target)
    return Scores(
        sad=sad(pred, target, counted) / 1000,
        mse=mse(pred, target, counted) * 1000,
        grad=grad(pred, target, counted) / 1000,
        conn=conn(pred, target, counted) / 1000,
        counted_px=cv2.countNonZero(counted),
    )


def _check(name: str, array: np.ndarray, pred: np.ndarray) -> None:
    if array.dtype != np.uint8:
        raise ValueError(f"{name} is {array.dtype}; the metrics are defined on 8-bit values, convert it to uint8 first")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; pass one channel (H, W)")
    if array.shape != pred.shape:
        raise ValueError(f"{name} is {array.shape[1]}x{array.shape[0]} but pred is {pred.shape[1]}x{pred.shape[0]}")


def sad(pred: np.ndarray, target: np.ndarray, counted: np.ndarray) -> float:
    """Sum of absolute differences in [0, 1] where `counted` is set."""
    return cv2.norm(pred, target, cv2.NORM_L1, counted) / 255


def mse(pred: np.ndarray, target: np.ndarray, counted: np.ndarray) -> float:
    """Mean squared difference of alphas where `counted`; NaN if nowhere."""
    count = cv2.countNonZero(counted)
    return cv2.norm(pred, target, cv2.NORM_L2SQR, counted) / (255**2 * count) if count else math.nan


def _tiles(counted: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Tiles with counted pixels, small enough for the cache in double precision."""
    left, top, width, height = cv2.boundingRect(counted)
    for y in range(top, top + height, TILE_PX):
        for x in range(left, left + width, TILE_PX):
            tile = slice(y, min(y + TILE_PX, top + height)), slice(x, min(x + TILE_PX, left + width))
            if counted[tile].any():
                yield tile


def _derivative_of_gaussian() -> tuple[np.ndarray, np.ndarray]:
    """Both 9-tap factors of the separable filter, each of L2 norm 1."""
    half = math.ceil(GRAD_SIGMA * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * GRAD_SIGMA * 0.01)))
    x = np.arange(-half, half + 1, dtype=np.float64)
    smooth = np.exp(-(x**2) / (2 * GRAD_SIGMA**2))
    derive = -x * smooth
    return smooth / np.linalg.norm(smooth), derive / np.linalg.norm(derive)


SMOOTH, DERIVE = _derivative_of_gaussian()
HALO_PX = len(SMOOTH) // 2


def grad(pred: np.ndarray, target: np.ndarray, counted: np.ndarray) -> float:
    """Sum of squared differences of gradient amplitudes where `counted` is set.

    The filter sees the whole image, stretched to [0, 1] by its own extremes. Its taps sum to 0, so the stretch is a
    factor on the amplitude, and the filter can run on grey levels.
    """
    spans = [int(alpha.max()) - int(alpha.min()) or 1 for alpha in (pred, target)]
    padded = [cv2.copyMakeBorder(alpha, *[HALO_PX] * 4, cv2.BORDER_REPLICATE) for alpha in (pred, target)]
    total = 0.0
    for rows, cols in _tiles(counted):
        with_halo = slice(rows.start, rows.stop + 2 * HALO_PX), slice(cols.start, cols.stop + 2 * HALO_PX)
        blocks = [alpha[with_halo] for alpha in padded]
        if spans[0] == spans[1] and np.array_equal(*blocks):
            continue
        ours, theirs = (_amplitude(block, span) for block, span in zip(blocks, spans, strict=True))
        total += cv2.norm(ours, theirs, cv2.NORM_L2SQR, counted[rows, cols])
    return total


def _amplitude(block: np.ndarray, span: int) -> np.ndarray:
    """Gradient amplitude of grey levels (h + 8, w + 8) -> float64 (h, w), without the halo."""
    inner = slice(HALO_PX, -HALO_PX), slice(HALO_PX, -HALO_PX)
    dx = cv2.sepFilter2D(block, cv2.CV_64F, DERIVE / span, SMOOTH)[inner]
    dy = cv2.sepFilter2D(block, cv2.CV_64F, SMOOTH, DERIVE / span)[inner]
    return cv2.magnitude(dx, dy)


def conn(pred: np.ndarray, target: np.ndarray, counted: np.ndarray) -> float:
    """Connectivity error where `counted`.

    It compares how the mattes hang on to their largest common part.
    """
    level = _connected_level(cv2.min(pred, target))
    total = 0.0
    for tile in _tiles(counted):
        offset = level[tile] * np.int16(255)
        ours, theirs = (_connectivity_loss(alpha[tile], offset) for alpha in (pred, target))
        total += cv2.norm(ours, theirs, cv2.NORM_L1, counted[tile])
    return total / (255 * CONN_STEPS)


def _connectivity_loss(alpha: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Excess of alpha over its connected level, int16 in 1/2550.

    Small and negative ones are 0.
    """
    distance = alpha * np.int16(CONN_STEPS) - offset
    return cv2.threshold(distance, CONN_LARGEST_IGNORED, 0, cv2.THRESH_TOZERO)[1]


def _connected_level(shared: np.ndarray) -> np.ndarray:
    """Number of steps for which each pixel stays in the largest component.

    Args:
        shared: minimum of both mattes, uint8 (H, W). Step k keeps `shared >= 255 k / 10`, in integers.

    Returns:
        uint8 (H, W) in 0..10.
    """
    level = np.zeros(shared.shape, np.uint8)
    connected = np.ones(shared.shape, np.uint8)
    seed = _deep_pixel(shared)
    for step in range(1, CONN_STEPS + 1):
        threshold = -(-255 * step // CONN_STEPS)
        above = cv2.threshold(shared, threshold - 1, 1, cv2.THRESH_BINARY)[1]
        connected &= largest_component(above, seed)
        if not connected.any():
            break
        level += connected
    return level


def _deep_pixel(shared: np.ndarray) -> tuple[int, int]:
    """(x, y) amid the brightest block, likely within every largest component."""
    height, width = shared.shape
    grid = max(1, width // SEED_BLOCK_PX), max(1, height // SEED_BLOCK_PX)
    _, _, _, (x, y) = cv2.minMaxLoc(cv2.resize(shared, grid, interpolation=cv2.INTER_AREA))
    return (2 * x + 1) * width // (2 * grid[0]), (2 * y + 1) * height // (2 * grid[1])


def largest_component(above: np.ndarray, seed: tuple[int, int]) -> np.ndarray:
    """Mask of the largest 4-connected component.

    Of equally large ones, that whose first pixel by columns comes first.

    Args:
        above: uint8 (H, W) of 0 and 1.
        seed: (x, y) of a guess. It changes the time, not the result: a component with more than half of all
            pixels is the largest, and filling one is several times faster than labelling all.
    """
    if above[seed[1], seed[0]]:
        filled = above.copy()
        area = cv2.floodFill(filled, None, seed, 2, flags=4)[0]
        if 2 * area > cv2.countNonZero(above):
            return filled >> 1
    count, labels = cv2.connectedComponents(above, connectivity=4)
    if count == 1:
        return above
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    largest = areas == areas.max()
    winner = int(largest.argmax())
    if np.count_nonzero(largest) > 1:
        tied = largest[labels]
        column = int(tied.any(axis=0).argmax())
        winner = labels[tied[:, column].argmax(), column]
    return (labels == winner).view(np.uint8)
