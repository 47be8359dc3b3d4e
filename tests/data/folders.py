"""Small training folders for the tests."""

from pathlib import Path

import cv2
import numpy as np
import OpenEXR


def disc(height: int, width: int, radius: float = 0.3) -> np.ndarray:
    """An opaque disc with a soft edge, uint8."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2) / min(height, width)
    return np.uint8(255 * np.clip((radius - distance) * 20 + 0.5, 0, 1))


def waves(height: int, width: int, phase: float = 0.0) -> np.ndarray:
    """A smooth colour picture, uint8."""
    y, x = np.mgrid[:height, :width] / 60.0
    return np.uint8(127.5 + 100 * np.stack([np.sin(x + phase), np.sin(y + phase), np.sin(x + y)], axis=-1))


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def make_dim(root: Path, count: int = 3, side: int = 160, backgrounds: int = 4) -> Path:
    """fg/ (JPEG), alpha/ (PNG) and bg/ (JPEG)."""
    for number in range(count):
        write(root / "fg" / f"f{number}.jpg", waves(side, side + 10 * number, number))
        write(root / "alpha" / f"f{number}.png", disc(side, side + 10 * number))
    for number in range(backgrounds):
        write(root / "bg" / f"b{number}.jpg", waves(120, 150, 10 + number))
    return root


def read_exr(path: Path) -> np.ndarray:
    """RGB or RGBA as stored: (H, W, 3 or 4), float16 or float32, linear."""
    with OpenEXR.File(str(path)) as file:
        (channels,) = file.channels().values()
        return channels.pixels.copy()
