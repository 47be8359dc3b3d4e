"""The four matting errors step by step, as reference for fast versions."""

import math
from collections import deque

import numpy as np


def sad(pred: np.ndarray, target: np.ndarray, unknown: np.ndarray) -> float:
    """Sum of absolute differences / 1000."""
    return float(np.abs(pred / 255 - target / 255)[unknown].sum()) / 1000


def mse(pred: np.ndarray, target: np.ndarray, unknown: np.ndarray) -> float:
    """Mean squared difference x 1000."""
    if not unknown.any():
        return math.nan
    return float(((pred / 255 - target / 255) ** 2)[unknown].mean()) * 1000


def grad(pred: np.ndarray, target: np.ndarray, unknown: np.ndarray) -> float:
    """Sum of squared differences of gradient amplitudes / 1000."""
    difference = _amplitude(pred) - _amplitude(target)
    return float((difference**2)[unknown].sum()) / 1000


def _amplitude(alpha: np.ndarray) -> np.ndarray:
    low, high = alpha.min() / 255, alpha.max() / 255
    stretched = (alpha / 255 - low) / (high - low) if high > low else alpha / 255
    sigma, half = 1.4, 4
    x = np.arange(-half, half + 1)
    gaussian = np.exp(-(x**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    filter_x = np.outer(gaussian, -x * gaussian / sigma**2)
    filter_x /= math.sqrt((filter_x**2).sum())
    padded = np.pad(stretched, half, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * half + 1, 2 * half + 1))  # (H, W, 9, 9)
    dx, dy = (np.einsum("hwij,ij->hw", windows, f) for f in (filter_x, filter_x.T))
    return np.sqrt(dx**2 + dy**2)


def conn(pred: np.ndarray, target: np.ndarray, unknown: np.ndarray) -> float:
    """Connectivity error / 1000."""
    shared = np.minimum(pred, target).astype(int)
    level = np.full(pred.shape, -1)
    for step in range(1, 11):
        omega = largest_component(10 * shared >= 255 * step)
        level[(level < 0) & ~omega] = step - 1
    level[level < 0] = 10
    total = 0
    for p, t, base in zip(pred[unknown], target[unknown], level[unknown], strict=True):
        total += abs(_phi(int(p), int(base)) - _phi(int(t), int(base)))
    return total / 1000


def _phi(value: int, level: int) -> float:
    distance = value / 255 - level / 10
    return 1 - distance if distance >= 0.15 else 1.0


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Largest 4-connected component, searched column by column.

    Only a strictly larger component replaces the one found before.
    """
    height, width = mask.shape
    left = mask.copy()
    best: list[tuple[int, int]] = []
    for column in range(width):
        for row in range(height):
            if not left[row, column]:
                continue
            left[row, column] = False
            members, queue = [(row, column)], deque([(row, column)])
            while queue:
                y, x = queue.popleft()
                for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    if 0 <= v < height and 0 <= u < width and left[v, u]:
                        left[v, u] = False
                        members.append((v, u))
                        queue.append((v, u))
            if len(members) > len(best):
                best = members
    result = np.zeros_like(mask)
    for y, x in best:
        result[y, x] = True
    return result
