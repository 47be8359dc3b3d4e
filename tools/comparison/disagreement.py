"""Regions of largest disagreement between mattes of one image."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

CROPS = 3
_SHARE, _SMALLEST_PX, _LARGEST_PX = 6, 32, 256  # a crop is a sixth of the shorter side, within bounds


class Box(NamedTuple):
    """A rectangle in pixels."""

    top: int
    left: int
    height: int
    width: int

    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def spread(alphas: Sequence[np.ndarray]) -> np.ndarray:
    """Largest minus smallest value per pixel, uint8 (H, W)."""
    highest, lowest = alphas[0].copy(), alphas[0].copy()
    for alpha in alphas[1:]:
        np.maximum(highest, alpha, out=highest)
        np.minimum(lowest, alpha, out=lowest)
    return highest - lowest


def worst_boxes(alphas: Sequence[np.ndarray], count: int = CROPS) -> list[Box]:
    """At most `count` disjoint boxes of largest disagreement, the worst first."""
    if not alphas:
        return []
    difference = spread(alphas)
    side = min(max(min(difference.shape) // _SHARE, _SMALLEST_PX), _LARGEST_PX)
    height, width = (min(side, length) for length in difference.shape)
    sums = _window_sums(difference, height, width)
    boxes = []
    while len(boxes) < count:
        top, left = (int(index) for index in np.unravel_index(sums.argmax(), sums.shape))
        if sums[top, left] <= 0:
            break
        boxes.append(Box(top, left, height, width))
        sums[max(top - height + 1, 0) : top + height, max(left - width + 1, 0) : left + width] = 0
    return boxes


def _window_sums(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Sums of all height x width windows, by their top left corners."""
    rows, cols = values.shape
    sums = cv2.boxFilter(values, cv2.CV_32S, (width, height), anchor=(0, 0), normalize=False)
    return sums[: rows - height + 1, : cols - width + 1]
