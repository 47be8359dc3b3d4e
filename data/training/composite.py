"""Joining layers: two foregrounds into one, and a foreground with a background."""

import numpy as np


def union_alpha(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Coverage of two independent layers, float32 in [0, 1]: 1 - (1 - a)(1 - b)."""
    return first + second * (1 - first)


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
    mixed = blend(first.astype(np.float32), second.astype(np.float32), first_alpha)
    return mixed.astype(np.uint8), union_alpha(first_alpha, second_alpha)


def blend(foreground: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composite two float32 layers (H, W, 3) with alpha (H, W) in [0, 1]."""
    image = foreground - background
    image *= alpha[..., None]
    image += background
    return image
