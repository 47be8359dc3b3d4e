"""Random steps of the published (DIM-style) augmentation, one function each.

Every function takes its random generator; nothing here reads files or keeps state.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data.training.warp import Size


@dataclass(frozen=True)
class AffineSettings:
    max_angle_deg: float = 30.0
    rotate_from_px: int = 1024  # smaller pictures (longer side) are not rotated
    min_scale: float = 0.8
    max_scale: float = 1.25
    max_shear_deg: float = 10.0
    flip_probability: float = 0.5  # of each axis


@dataclass(frozen=True)
class CropSettings:
    size_px: int = 512
    enlarge: float = 1.1  # a picture too small for a crop is enlarged until its shorter side is this many crops
    grid_px: int = 4  # the crop's centre is chosen on a grid this coarse
    min_candidates: int = 10  # with fewer unknown grid points the crop lies anywhere
    redraw_one_sided: float = 0.0  # probability for crops that hardly show known foreground or known background


@dataclass(frozen=True)
class JitterSettings:
    max_hue_deg: int = 40
    strength: float = 0.1  # saturation and value move by at most strength * (ceiling - mean)
    ceiling: float = 1.1


@dataclass(frozen=True)
class DefocusSettings:
    probability: float = 0.0  # of a background out of focus; never, as published
    max_blur_px: float = 6.0  # standard deviation


@dataclass(frozen=True)
class ColourMatchSettings:
    probability: float = 0.0  # of a foreground moved towards its background; not in the published pipeline
    max_amount: float = 0.9  # 1: the same mean and deviation in each channel


@dataclass(frozen=True)
class Affine:
    """Angles in radians; a negative scale is a flip."""

    angle: float
    shear: float
    scale_x: float
    scale_y: float

    def matrix(self, size: Size) -> np.ndarray:
        """3x3 map from wanted to stored pixels, about the picture's centre."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        over_x, over_y = 1 / self.scale_x, 1 / self.scale_y
        linear = np.array(
            [
                [cos * over_x, np.sin(self.angle + self.shear) * over_x],
                [-sin * over_y, np.cos(self.angle + self.shear) * over_y],
            ]
        ) / np.cos(self.shear)
        centre = np.array([size[1] / 2 + 0.5, size[0] / 2 + 0.5])
        matrix = np.eye(3)
        matrix[:2, :2] = linear
        matrix[:2, 2] = centre - linear @ centre
        return matrix


def draw_affine(size: Size, rng: np.random.Generator, settings: AffineSettings) -> Affine:
    """Rotation, shear, scales and flips for a picture of `size`."""
    turn = settings.max_angle_deg if max(size) >= settings.rotate_from_px else 0.0
    angle, shear = np.deg2rad(rng.uniform(-1, 1, size=2) * (turn, settings.max_shear_deg))
    scales = rng.uniform(settings.min_scale, settings.max_scale, size=2)
    scales *= np.where(rng.random(2) < settings.flip_probability, -1, 1)
    return Affine(float(angle), float(shear), float(scales[0]), float(scales[1]))


def canvas_size(size: Size, settings: CropSettings) -> Size:
    """Size to crop from: `size`, enlarged if a crop does not fit."""
    height, width = size
    if min(height, width) > settings.size_px:
        return size
    ratio = settings.enlarge * settings.size_px / min(height, width)
    return max(int(height * ratio), settings.size_px + 1), max(int(width * ratio), settings.size_px + 1)


def choose_corner(unknown: np.ndarray, canvas: Size, rng: np.random.Generator, settings: CropSettings) -> Size:
    """Top and left of a crop, on an unknown pixel if possible.

    Args:
        unknown: (canvas height // grid, canvas width // grid) bool, the unknown area on the coarse grid.
        canvas: size of the picture to be cropped, larger than the crop on both axes.
    """
    margin = settings.size_px // 2 // settings.grid_px
    inner = unknown[margin : unknown.shape[0] - margin, margin : unknown.shape[1] - margin]
    candidates = np.flatnonzero(inner)
    if len(candidates) < settings.min_candidates:
        top, left = (int(rng.integers(side - settings.size_px, endpoint=True)) for side in canvas)
        return top, left
    row, column = divmod(int(candidates[rng.integers(len(candidates))]), inner.shape[1])
    return row * settings.grid_px, column * settings.grid_px


def jitter_colour(
    foreground: np.ndarray, alpha: np.ndarray, rng: np.random.Generator, settings: JitterSettings
) -> np.ndarray:
    """Shift hue, saturation and value of a foreground by one amount each.

    Args:
        foreground: (H, W, 3) uint8 RGB.
        alpha: (H, W) float32; the means are taken where it is positive.

    Returns:
        (H, W, 3) float32 RGB in [0, 1].
    """
    hue_shift = int(rng.integers(-settings.max_hue_deg, max(settings.max_hue_deg, 1))) % 360
    draws = rng.random(2)
    scaled = np.multiply(foreground, np.float32(1 / 255), dtype=np.float32)
    visible = (alpha > 0).astype(np.uint8)
    if not visible.any():
        return scaled
    hsv = cv2.cvtColor(scaled, cv2.COLOR_RGB2HSV)  # hue in degrees, the others in [0, 1]
    means = cv2.mean(hsv, visible)[1:3]
    moves = (2 * draws - 1) * settings.strength * (settings.ceiling - np.array(means))
    # Passes over all channels in place are cheaper than taking them apart; cvtColor wraps a hue beyond 360.
    cv2.add(hsv, (hue_shift, *moves, 0), dst=hsv)
    np.abs(hsv, out=hsv)
    cv2.subtract((np.inf, 2, 2, 0), hsv, dst=scaled)
    cv2.min(hsv, scaled, dst=hsv)  # reflects what exceeds 1
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=scaled)


def defocus(background: np.ndarray, rng: np.random.Generator, settings: DefocusSettings) -> np.ndarray:
    """Blur a background (H, W, 3) float32 with `probability`, as behind a subject."""
    if not settings.probability or rng.random() >= settings.probability:
        return background
    return cv2.GaussianBlur(background, (0, 0), settings.max_blur_px * rng.uniform(0.1, 1.0))


def match_colours(
    foreground: np.ndarray,
    alpha: np.ndarray,
    background: np.ndarray,
    rng: np.random.Generator,
    settings: ColourMatchSettings,
) -> np.ndarray:
    """Shift a foreground's colours towards those of the background, with `probability`.

    Colour alone then does not tell them apart.

    Args:
        foreground, background: (H, W, 3) float32 RGB in [0, 1].
        alpha: (H, W) float32; means and deviations of the foreground are taken where it is positive.
    """
    visible = (alpha > 0).astype(np.uint8)
    # No number is drawn where this is off: the published pipeline's samples stay what they are.
    if not settings.probability or rng.random() >= settings.probability or not visible.any():
        return foreground
    amount = rng.uniform(0, settings.max_amount)
    mean, deviation = (values[:, 0] for values in cv2.meanStdDev(foreground, mask=visible))
    to_mean, to_deviation = (values[:, 0] for values in cv2.meanStdDev(background))
    scale = 1 + amount * (np.clip(to_deviation / np.maximum(deviation, 0.02), 0.5, 2) - 1)
    shift = mean + amount * (to_mean - mean) - scale * mean
    return np.clip(foreground * scale.astype(np.float32) + shift.astype(np.float32), 0, 1)
