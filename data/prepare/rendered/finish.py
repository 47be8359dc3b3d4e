"""Finishing of foregrounds: lens, exposure, tone, colours beyond the edge."""

import cv2
import numpy as np

from data.prepare.drawing import finished


def developed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Develop as a camera does: softness, exposure, tone curve, white balance.

    Args:
        picture: premultiplied linear (H, W, 4) float32.

    Returns:
        The finished foreground, uint8 (H, W, 4).
    """
    softness = rng.choice([0.0, 0.0, rng.uniform(0.3, 0.7), rng.uniform(0.5, 1.0)])
    if softness:
        picture = cv2.GaussianBlur(picture, (0, 0), softness, borderType=cv2.BORDER_REPLICATE)
    alpha = np.clip(picture[..., 3], 0, 1)
    colour = picture[..., :3] / np.maximum(picture[..., 3:], 1e-6)
    solid = alpha > 0.2
    bright = float(np.percentile(colour[solid].mean(axis=-1), 97)) if solid.any() else 1.0
    colour = colour * ((rng.uniform(0.45, 1.3) / max(bright, 1e-3)) ** 0.7) * np.exp(rng.normal(0, 0.04, 3))
    knee, contrast = rng.uniform(0.5, 1.2), rng.uniform(0.9, 1.2)
    colour = (1 - np.exp(-knee * colour)) / (1 - np.exp(-knee * 1.5))
    colour = encode_srgb(np.clip(colour, 0, 1) ** contrast)
    grey = colour.mean(axis=-1, keepdims=True)
    colour = np.clip(grey + (colour - grey) * rng.uniform(0.8, 1.2), 0, 1).astype(np.float32)
    return finished(np.dstack([colour * alpha[..., None], alpha]))


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear [0, 1] -> sRGB [0, 1]."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def with_exact_alpha(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Foreground from a colour pass and a separate exact alpha.

    Args:
        colour: (H, W, 4) float32 in [0, 1], straight and display-encoded, with the coverage of its own samples.
        alpha: (H, W) float32 in [0, 1].

    Returns:
        uint8 (H, W, 4).
    """
    rgba = finished(np.dstack([colour[..., :3] * colour[..., 3:], colour[..., 3]]))
    rgba[..., 3] = np.rint(np.clip(alpha, 0, 1) * 255)
    return rgba
