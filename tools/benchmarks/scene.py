"""What the benchmark mattes: a photograph-like image and a trimap as people draw them, at any size."""

from typing import Literal

import numpy as np

Unknown = Literal["band", "all"]
BAND_SHARE = 0.15


def make_scene(size: int, unknown: Unknown) -> tuple[np.ndarray, np.ndarray]:
    """Image (size, size, 3) uint8 and trimap (size, size) uint8.

    "band": a wavy silhouette with a band of 15 % of the pixels around its outline; "all": nothing is known.
    """
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    distance = radius - 0.3 * (1 + 0.12 * np.sin(5 * angle) + 0.05 * np.sin(17 * angle))
    waves = [np.sin(40 * x + 9 * y), np.cos(23 * y - 31 * x), np.sin(55 * (x + y))]
    rng = np.random.default_rng(0)
    image = np.stack([110 + 50 * wave + 40 * (distance < 0) for wave in waves], axis=-1)
    image = (image + rng.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)
    if unknown == "all":
        return image, np.full((size, size), 128, np.uint8)
    half_width = np.quantile(np.abs(distance), BAND_SHARE)
    trimap = np.where(distance < 0, 255, 0).astype(np.uint8)
    trimap[np.abs(distance) <= half_width] = 128
    return image, trimap
