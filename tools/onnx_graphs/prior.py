"""Closed-form alpha as network input, by numpy and onnxruntime only.

In bounded memory.

NAME_prior.onnx solves the linear system. Larger pictures than the network's metadata state are reduced first, and
alpha returns to full size along the edges of the picture: alpha = a * colour + b in small windows, so

    alpha(full) = enlarged alpha + a * (picture - enlarged reduced picture).
"""

from typing import NamedTuple

import numpy as np
import onnxruntime

from .sessions import run_session

UNKNOWN = 128
RADIUS_PX, SMOOTHING = 2, 2e-4  # of the linear models: half a window's side, variance of colours that counts as noise
TILE_PX = 512
_CUBIC = -0.75


def closed_form_prior(
    session: onnxruntime.InferenceSession, image: np.ndarray, trimap: np.ndarray, most_px: int
) -> np.ndarray:
    """Closed-form alpha, 0 and 255 where the trimap is known.

    Args:
        session: of NAME_prior.onnx.
        image: (H, W, 3) uint8 RGB.
        trimap: (H, W) uint8 of 0, 128, 255.
        most_px: pixels of the largest picture that is solved as it is.

    Returns:
        (H, W) uint8.
    """
    if not (trimap == UNKNOWN).any():
        return trimap.copy()
    rows, cols = trimap.shape
    if rows * cols <= most_px:
        alpha = _solve(session, image, trimap)
    else:
        scale = (most_px / (rows * cols)) ** 0.5
        small, levels = reduce(image, trimap, max(int(rows * scale), 1), max(int(cols * scale), 1))
        alpha = enlarge(_solve(session, small, levels), small, image, trimap)
    return np.rint(alpha * 255).astype(np.uint8)


def _solve(session: onnxruntime.InferenceSession, image: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """(h, w) float32."""
    colours = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
    levels = trimap[None, None].astype(np.float32) / np.float32(255)
    return run_session(session, {"image": colours, "trimap": levels})[0][0, 0]


def reduce(image: np.ndarray, trimap: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Average colours; known are only pixels all of whose area is.

    Returns:
        (height, width, 3) and (height, width) uint8.
    """
    small = np.stack([averaged(image[..., channel], height, width) for channel in range(3)], axis=-1)
    levels = np.full((height, width), UNKNOWN, np.uint8)
    for level in (0, 255):
        levels[averaged((trimap == level).view(np.uint8) * np.uint8(255), height, width) == 255] = level
    return small, levels


def averaged(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W) uint8 -> (height, width) uint8 means over areas that may overlap by one pixel."""
    (top, bottom), (left, right) = (_areas(*sides) for sides in zip(plane.shape, (height, width), strict=True))
    means = np.empty((height, width), np.uint8)
    sums = np.zeros(plane.shape[1] + 1, np.int64)
    for row, (first, last) in enumerate(zip(top, bottom, strict=True)):
        np.cumsum(plane[first:last].sum(axis=0, dtype=np.int64), out=sums[1:])
        means[row] = np.rint((sums[right] - sums[left]) / ((last - first) * (right - left)))
    return means


def _areas(length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last but one pixel of each of `count` areas."""
    index = np.arange(count)
    return index * length // count, -(-(index + 1) * length // count)


def enlarge(alpha: np.ndarray, small: np.ndarray, image: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """Alpha at full size, exact where the trimap knows it.

    Args:
        alpha: (h, w) float32, of the reduced picture.
        small: (h, w, 3) uint8, the reduced picture.
        image: (H, W, 3) uint8.
        trimap: (H, W) uint8 of 0, 128, 255.

    Returns:
        (H, W) float32 in [0, 1].
    """
    colours = small.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    slopes = linear_models(colours, alpha)
    coarse = np.concatenate([alpha[None], colours])  # (4, h, w)
    full = (trimap == 255).astype(np.float32)
    rows, cols = trimap.shape
    for top in range(0, rows, TILE_PX):
        for left in range(0, cols, TILE_PX):
            tile = slice(top, top + TILE_PX), slice(left, left + TILE_PX)
            unknown = trimap[tile] == UNKNOWN
            if not unknown.any():
                continue
            places = (
                _places(top, unknown.shape[0], rows, len(alpha)),
                _places(left, unknown.shape[1], cols, len(alpha[0])),
            )
            enlarged = _sampled(coarse, *(_cubic_taps(*place) for place in places))
            slope = _sampled(slopes, *(_linear_taps(*place) for place in places))
            lost = image[tile].transpose(2, 0, 1) / np.float32(255) - enlarged[1:]  # (3, rows, cols)
            fine = (enlarged[0] + (slope * lost).sum(axis=0)).clip(0, 1)
            full[tile][unknown] = fine[unknown]
    return full


def linear_models(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Slopes a of alpha = a * colour + b, averaged over each pixel's windows.

    Each window is fitted by least squares.

    Args:
        image: (3, h, w) in [0, 1].
        alpha: (h, w).

    Returns:
        (3, h, w) float32.
    """
    mean = [_windows(channel) for channel in image]
    mean_alpha = _windows(alpha)
    cross = [_windows(channel * alpha) - own * mean_alpha for channel, own in zip(image, mean, strict=True)]
    covariance = np.empty((*alpha.shape, 3, 3))
    for i in range(3):
        for j in range(i, 3):
            noise = SMOOTHING if i == j else 0
            value = _windows(image[i] * image[j]) - mean[i] * mean[j] + noise
            covariance[..., i, j] = covariance[..., j, i] = value
    slopes = np.linalg.solve(covariance, np.stack(cross, axis=-1)[..., None])[..., 0]  # (h, w, 3)
    return np.stack([_windows(slopes[..., channel]) for channel in range(3)]).astype(np.float32)


def _windows(values: np.ndarray) -> np.ndarray:
    """Mean over the window around each pixel, cut at the border: (h, w) -> (h, w) float64."""
    for axis in (0, 1):
        length = values.shape[axis]
        sums = np.insert(np.cumsum(values, axis=axis, dtype=np.float64), 0, 0, axis=axis)
        index = np.arange(length)
        first, last = (index - RADIUS_PX).clip(0), (index + RADIUS_PX + 1).clip(max=length)
        counts = np.expand_dims(last - first, 1 - axis)
        values = (sums.take(last, axis=axis) - sums.take(first, axis=axis)) / counts
    return values


class _Taps(NamedTuple):
    """Entries that each sample is a weighted sum of, along one axis."""

    index: np.ndarray  # (n, taps)
    weights: np.ndarray  # (n, taps) float32


def _places(start: int, count: int, length: int, small: int) -> tuple[np.ndarray, int]:
    """Centres of `count` pixels in pixels of the reduced side.

    The pixels are `start` to `start + count` of `length`; the reduced side is returned too.
    """
    return (np.arange(start, start + count) + 0.5) * (small / length) - 0.5, small


def _linear_taps(places: np.ndarray, length: int) -> _Taps:
    places = places.clip(0, length - 1)
    before = np.floor(places).astype(np.int64)
    part = (places - before).astype(np.float32)
    return _Taps(np.stack([before, (before + 1).clip(max=length - 1)], axis=1), np.stack([1 - part, part], axis=1))


def _cubic_taps(places: np.ndarray, length: int) -> _Taps:
    before = np.floor(places).astype(np.int64)
    index = (before[:, None] + np.arange(-1, 3)).clip(0, length - 1)
    distance = np.abs(places[:, None] - (before[:, None] + np.arange(-1, 3)))
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance**2 + 1
    far = ((_CUBIC * distance - 5 * _CUBIC) * distance + 8 * _CUBIC) * distance - 4 * _CUBIC
    return _Taps(index, np.where(distance <= 1, near, far).astype(np.float32))


def _sampled(planes: np.ndarray, rows: _Taps, cols: _Taps) -> np.ndarray:
    """(C, h, w) -> (C, n, m) at the taps of n rows and m columns."""
    left = cols.index.min()
    planes = planes[..., left : cols.index.max() + 1]
    tall = sum(planes[:, rows.index[:, tap]] * rows.weights[:, tap, None] for tap in range(rows.index.shape[1]))
    return sum(tall[..., cols.index[:, tap] - left] * cols.weights[:, tap] for tap in range(cols.index.shape[1]))
