"""Published real-world augmentation: contrast, JPEG, blur and noise on finished composites.

Up to four changes in random order. Alpha and trimap stay as they are, so a network learns to see through them.
"""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class RealWorldSettings:
    """Published strengths, each drawn uniformly from what is given."""

    probability: float = 0.0  # of degrading a crop at all; published 0.5, and off by default
    contrast: tuple[float, float] = (0.6, 1.4)
    max_jpeg_compression: float = 60.0  # 0 is quality 100
    max_blur_px: float = 3.0  # standard deviation
    max_noise: float = 25.5  # standard deviation in grey levels


def degrade(image: np.ndarray, rng: np.random.Generator, settings: RealWorldSettings) -> np.ndarray:
    """Degrade an image with `probability`; otherwise it is returned unchanged.

    Args:
        image: (H, W, 3) float32 RGB in [0, 1].

    Returns:
        The same; of 256 levels where it was degraded.
    """
    if rng.random() >= settings.probability:
        return image
    changes = (_change_contrast, _compress, _blur, _add_noise)
    chosen = rng.permutation(len(changes))[: rng.integers(1, len(changes), endpoint=True)]
    pixels = _to_uint8(image * 255)
    for index in chosen:
        pixels = changes[index](pixels, rng, settings)
    return np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)


def _change_contrast(pixels: np.ndarray, rng: np.random.Generator, settings: RealWorldSettings) -> np.ndarray:
    return _to_uint8((pixels.astype(np.float32) - 127) * np.float32(rng.uniform(*settings.contrast)) + 127)


def _compress(pixels: np.ndarray, rng: np.random.Generator, settings: RealWorldSettings) -> np.ndarray:
    quality = round(100 - rng.uniform(0, settings.max_jpeg_compression))
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _blur(pixels: np.ndarray, rng: np.random.Generator, settings: RealWorldSettings) -> np.ndarray:
    sigma = rng.uniform(0, settings.max_blur_px)
    return cv2.GaussianBlur(pixels, (0, 0), sigma) if sigma > 0 else pixels


def _add_noise(pixels: np.ndarray, rng: np.random.Generator, settings: RealWorldSettings) -> np.ndarray:
    """One field for all channels."""
    field = rng.standard_normal(pixels.shape[:2], dtype=np.float32) * np.float32(rng.uniform(0, settings.max_noise))
    return _to_uint8(pixels + field[..., None])


def _to_uint8(levels: np.ndarray) -> np.ndarray:
    return np.rint(levels).clip(0, 255).astype(np.uint8)
