"""Joining layers: two foregrounds into one, and a foreground with a background."""

import numpy as np


def union_alpha(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Coverage of two independent layers, float32 in [0, 1]: 1 - (1 - a)(1 - b)."""
    return first + second - first * second


def merge_foregrounds(
    first: np.ndarray, first_alpha: np.ndarray, second: np.ndarray, second_alpha: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lay the first foreground over the second.

    Args:
        first, second: (H, W, 3) uint8.
        first_alpha, second_alpha: (H, W) float32 in [0, 1].

    Returns:
        The colours, mixed by the first alpha and cut to uint8 as published, and the joint alpha.
    """
    weight = first_alpha[..., None]
    colour = first * weight + second * (1 - weight)  # float32
    return colour.astype(np.uint8), union_alpha(first_alpha, second_alpha)


def blend(foreground: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composite (H, W, 3) layers of any number type with float32 alpha (H, W): float32, in the layers' range."""
    background = background.astype(np.float32)
    return background + (foreground.astype(np.float32) - background) * alpha[..., None]
