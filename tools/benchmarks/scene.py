"""Benchmark input: a photograph-like image and a hand-drawn-like trimap of any size."""

from typing import Literal

import numpy as np

Unknown = Literal["band", "all"]
BAND_SHARE = 0.15
_SAMPLE = 1_000_000  # pixels that the width of the band is found from


def make_scene(height: int, width: int, unknown: Unknown) -> tuple[np.ndarray, np.ndarray]:
    """Image (height, width, 3) uint8 and trimap (height, width) uint8.

    "band": a wavy silhouette with a band of 15 % of the pixels around its outline; "all": nothing is known.
    """
    y = np.arange(height, dtype=np.float32)[:, None] / height - 0.5
    x = np.arange(width, dtype=np.float32) / width - 0.5
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    distance = radius - 0.3 * (1 + 0.12 * np.sin(5 * angle) + 0.05 * np.sin(17 * angle))
    rng = np.random.default_rng(0)
    image = np.empty((height, width, 3), np.uint8)
    for channel, phase in enumerate((40 * x + 9 * y, 23 * y - 31 * x + np.pi / 2, 55 * (x + y))):
        grain = rng.standard_normal((height, width), np.float32)
        image[..., channel] = (110 + 50 * np.sin(phase) + 40 * (distance < 0) + 6 * grain).clip(0, 255)
    if unknown == "all":
        return image, np.full((height, width), 128, np.uint8)
    step = max(int((height * width / _SAMPLE) ** 0.5), 1)
    half_width = np.quantile(np.abs(distance[::step, ::step]), BAND_SHARE)
    trimap = np.where(distance < 0, 255, 0).astype(np.uint8)
    trimap[np.abs(distance) <= half_width] = 128
    return image, trimap
