"""Trimaps: their levels, unknown pixels, and how alphas become trimaps."""

from dataclasses import dataclass

import cv2
import numpy as np

BACKGROUND, UNKNOWN, FOREGROUND = LEVELS = (0, 128, 255)
BACKGROUND_UP_TO, FOREGROUND_FROM = 25, 230  # other values up to / from here are background / foreground
KNOWN_TOLERANCE = 1e-5  # how far from 0 or 1 an alpha may be and still count as known


@dataclass(frozen=True)
class TrimapSettings:
    """Published trimap generation: at 640x640, eroded by ellipses of 1..29 pixels.

    Attributes:
        hide_probability: of an ellipse around a pixel that is not background in which all becomes unknown (never, as
            published). People mark whole parts of an object as unknown, which erosion never does.
        max_hidden_px: longest half-axis of that ellipse.
    """

    side_px: int = 640
    min_kernel_px: int = 1
    max_kernel_px: int = 29
    hide_probability: float = 0.0
    max_hidden_px: int = 110


def is_unknown(trimap: np.ndarray) -> np.ndarray:
    """Pixels whose alpha is asked for: bool of the trimap's shape."""
    return trimap == UNKNOWN


def snap_trimap(values: np.ndarray) -> np.ndarray:
    """Snap uint8 (H, W) values to the nearest of 0, 128, 255."""
    table = np.full(256, UNKNOWN, np.uint8)
    table[: BACKGROUND_UP_TO + 1] = BACKGROUND
    table[FOREGROUND_FROM:] = FOREGROUND
    return cv2.LUT(values, table)


def keep_extremes(values: np.ndarray) -> np.ndarray:
    """Trimap of uint8 values: background at 0, foreground at 255, unknown between."""
    return np.where((values == BACKGROUND) | (values == FOREGROUND), values, np.uint8(UNKNOWN))


def trimap_from_alpha(alpha: np.ndarray, foreground_kernel_px: int, background_kernel_px: int) -> np.ndarray:
    """Trimap by eroding opaque and transparent areas with ellipses.

    Args:
        alpha: (H, W) float32 in [0, 1].
        foreground_kernel_px, background_kernel_px: side of the ellipse; 1 erodes nothing.
    """
    foreground = erode((alpha >= 1 - KNOWN_TOLERANCE).astype(np.uint8), foreground_kernel_px)
    background = erode((alpha <= KNOWN_TOLERANCE).astype(np.uint8), background_kernel_px)
    trimap = np.full(alpha.shape, UNKNOWN, np.uint8)
    trimap[foreground > 0] = FOREGROUND
    trimap[background > 0] = BACKGROUND
    return trimap


def random_trimap(alpha: np.ndarray, rng: np.random.Generator, settings: TrimapSettings) -> np.ndarray:
    """Trimap with randomly and independently eroded known areas.

    `alpha` as in `trimap_from_alpha`.
    """
    kernels = rng.integers(settings.min_kernel_px, settings.max_kernel_px, size=2, endpoint=True)
    trimap = trimap_from_alpha(alpha, int(kernels[0]), int(kernels[1]))
    if settings.hide_probability and rng.random() < settings.hide_probability:
        hide_ellipse(trimap, rng, settings.max_hidden_px)
    return trimap


def hide_ellipse(trimap: np.ndarray, rng: np.random.Generator, max_half_axis_px: int) -> None:
    """Mark an ellipse around a random non-background pixel as unknown, in place."""
    rows, columns = np.nonzero(trimap != BACKGROUND)
    if not len(rows):
        return
    middle = rng.integers(len(rows))
    axes = np.rint(max_half_axis_px * rng.uniform(0.1, 1.0, size=2)).astype(int)
    centre, angle = (int(columns[middle]), int(rows[middle])), rng.uniform(0, 180)
    cv2.ellipse(trimap, centre, axes.tolist(), angle, 0, 360, UNKNOWN, cv2.FILLED)


def erode(mask: np.ndarray, kernel_px: int) -> np.ndarray:
    """Erode a uint8 mask by an ellipse, except along the frame."""
    if kernel_px <= 1:
        return mask
    return cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel_px, kernel_px)))
