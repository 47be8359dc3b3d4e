"""Geometry of one crop: matrices between pixel grids, and sampling by them.

All matrices are 3x3, act on (x, y, 1) pixel indices and point from the wanted pixel to the stored one, so a chain of
resizes, affine maps and crops is one product and costs one interpolation of the wanted pixels alone.
"""

import cv2
import numpy as np

INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
TILE_PX = 64
REACH_PX = 5  # Lanczos4 reads 4 pixels to the right of the position; one more against rounding

Size = tuple[int, int]  # height, width


def draw_interpolation(rng: np.random.Generator) -> int:
    """Nearest, bilinear, cubic or Lanczos4, equally likely."""
    return INTERPOLATIONS[rng.integers(len(INTERPOLATIONS))]


def resize_matrix(wanted: Size, stored: Size) -> np.ndarray:
    """Index map of a resize whose pixel areas coincide (half-pixel centres, as cv2.resize does it)."""
    scale_y, scale_x = stored[0] / wanted[0], stored[1] / wanted[1]
    return np.array([[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2], [0, 0, 1]])


def translation(top: float, left: float) -> np.ndarray:
    """Index map of a crop whose first pixel is (top, left)."""
    return np.array([[1.0, 0, left], [0, 1.0, top], [0, 0, 1]])


def minification(matrix: np.ndarray) -> float:
    """Stored pixels per wanted pixel in the direction where they are fewest."""
    return float(np.linalg.svd(matrix[:2, :2], compute_uv=False)[-1])


def decode_reduction(matrix: np.ndarray) -> int:
    """Largest reduction (1, 2, 4, 8) that loses nothing of what `matrix` shows."""
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or minification(matrix) >= factor)


def source_window(matrix: np.ndarray, wanted: Size, stored: Size) -> tuple[slice, slice] | None:
    """Rows and columns of the stored picture in a warp's reach.

    None when it lies outside altogether.
    """
    height, width = wanted
    corners = np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1]])
    x, y = (matrix @ corners)[:2]
    left, right = max(int(np.floor(x.min())) - REACH_PX, 0), min(int(np.ceil(x.max())) + REACH_PX + 1, stored[1])
    top, bottom = max(int(np.floor(y.min())) - REACH_PX, 0), min(int(np.ceil(y.max())) + REACH_PX + 1, stored[0])
    if left >= right or top >= bottom:
        return None
    return slice(top, bottom), slice(left, right)


def warp(
    image: np.ndarray, matrix: np.ndarray, wanted: Size, interpolation: int, visible: np.ndarray | None = None
) -> np.ndarray:
    """Read `wanted` pixels of `image` (H, W[, 3]) through `matrix`; outside is 0.

    With `visible` (wanted) only the tiles in which it is not 0 throughout are read; the others are 0.
    """
    window = source_window(matrix, wanted, image.shape[:2])
    if window is None:
        return np.zeros((*wanted, *image.shape[2:]), image.dtype)
    image, matrix = image[window], translation(-window[0].start, -window[1].start) @ matrix
    flags = interpolation | cv2.WARP_INVERSE_MAP
    if visible is None:
        return cv2.warpAffine(image, matrix[:2], (wanted[1], wanted[0]), flags=flags)
    warped = np.zeros((*wanted, *image.shape[2:]), image.dtype)
    for top in range(0, wanted[0], TILE_PX):
        for left in range(0, wanted[1], TILE_PX):
            tile = np.s_[top : top + TILE_PX, left : left + TILE_PX]
            if visible[tile].any():
                rows, columns = visible[tile].shape
                shifted = (matrix @ translation(top, left))[:2]
                warped[tile] = cv2.warpAffine(image, shifted, (columns, rows), flags=flags)
    return warped


def read_upright(image: np.ndarray, matrix: np.ndarray, wanted: Size, interpolation: int) -> np.ndarray:
    """`warp` without rotation, by resizing, which is many times cheaper."""
    slices = []
    for axis in (0, 1):
        scale, offset = matrix[1 - axis, 1 - axis], matrix[1 - axis, 2]
        start = int(np.clip(round(offset - (scale - 1) / 2), 0, image.shape[axis] - 1))
        stop = int(np.clip(round(start + scale * wanted[axis]), start + 1, image.shape[axis]))
        slices.append(slice(start, stop))
    return cv2.resize(image[tuple(slices)], (wanted[1], wanted[0]), interpolation=interpolation)


def nearest_indices(wanted: int, stored: int) -> np.ndarray:
    """Stored pixel per wanted pixel of a nearest-neighbour resize, along one axis."""
    return np.minimum(np.arange(wanted) * stored // wanted, stored - 1)
