"""Published training composition in its plain order, on whole pictures.

Slow on purpose: `data.training.crops` must have its statistics, and its pixels where the same numbers are drawn.
Nothing here uses the code under test.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

MODES = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
CROP, WORK = 512, 640


@dataclass
class Crop:
    image: np.ndarray  # (512, 512, 3) float32 in [0, 255]
    alpha: np.ndarray
    trimap: np.ndarray
    scales: tuple[float, float]  # without the sign
    angle: float  # radians
    corner: tuple[int, int]
    canvas: tuple[int, int]


def any_mode(rng: np.random.Generator) -> int:
    return MODES[rng.integers(4)]


def affine_inverse(angle: float, shear: float, scale_x: float, scale_y: float, rows: int, cols: int) -> np.ndarray:
    """Matrix (2, 3) from the turned picture back; negative scales flip."""
    k = 1 / math.cos(shear)
    a = [
        [k * math.cos(angle) / scale_x, k * math.sin(angle + shear) / scale_x],
        [-k * math.sin(angle) / scale_y, k * math.cos(angle + shear) / scale_y],
    ]
    cx, cy = cols / 2 + 0.5, rows / 2 + 0.5
    shift = [cx - a[0][0] * cx - a[0][1] * cy, cy - a[1][0] * cx - a[1][1] * cy]
    return np.array([[*a[0], shift[0]], [*a[1], shift[1]]])


def merge(fg, alpha, fg2, alpha2, rng):
    rows, cols = alpha.shape
    fg2 = cv2.resize(fg2, (cols, rows), interpolation=any_mode(rng))
    alpha2 = cv2.resize(alpha2, (cols, rows), interpolation=any_mode(rng))
    union = 1 - (1 - alpha) * (1 - alpha2)
    if not (union < 1).any():
        return fg, alpha
    mixed = fg.astype(np.float32) * alpha[..., None] + fg2.astype(np.float32) * (1 - alpha[..., None])
    return mixed.astype(np.uint8), union


def make_trimap(alpha, rng):
    rows, cols = alpha.shape
    small = cv2.resize(alpha, (WORK, WORK), interpolation=any_mode(rng))
    trimap = np.full((WORK, WORK), 128, np.uint8)
    for value, area in ((255, small + 1e-5 >= 1), (0, 1 - small + 1e-5 >= 1)):
        n = int(rng.integers(1, 30))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (n, n))
        trimap[cv2.erode(area.astype(np.uint8), kernel) == 1] = value
    return cv2.resize(trimap, (cols, rows), interpolation=cv2.INTER_NEAREST)


def place_crop(trimap, rng):
    rows, cols = trimap.shape
    quarter = cv2.resize(trimap, (cols // 4, rows // 4), interpolation=cv2.INTER_NEAREST)
    ys, xs = np.nonzero(quarter[64:-64, 64:-64] == 128)
    if len(ys) < 10:
        return int(rng.integers(0, rows - CROP + 1)), int(rng.integers(0, cols - CROP + 1))
    n = int(rng.integers(len(ys)))
    return 4 * int(ys[n]), 4 * int(xs[n])


def jitter(fg, alpha, rng):
    hsv = cv2.cvtColor(fg.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    visible = alpha > 0
    hsv[..., 0] = np.remainder(hsv[..., 0] + int(rng.integers(-40, 40)), 360)
    for channel in (1, 2):
        bar = hsv[..., channel][visible].mean()
        moved = np.abs(hsv[..., channel] + rng.random() * (1.1 - bar) / 5 - (1.1 - bar) / 10)
        moved[moved > 1] = 2 - moved[moved > 1]
        hsv[..., channel] = moved
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255


def compose(fg, alpha, fg2, alpha2, bg, rng: np.random.Generator) -> Crop:
    """One crop, from uint8 RGB pictures and float32 alphas.

    Alphas are in [0, 1]; `fg2` None: no second foreground.
    """
    if fg2 is not None:
        fg, alpha = merge(fg, alpha, fg2, alpha2, rng)
    if rng.random() < 0.25:
        fg = cv2.resize(fg, (WORK, WORK), interpolation=any_mode(rng))
        alpha = cv2.resize(alpha, (WORK, WORK), interpolation=any_mode(rng))

    rows, cols = alpha.shape
    angle = math.radians(rng.uniform(-30, 30)) if max(rows, cols) >= 1024 else 0.0
    scales = rng.uniform(0.8, 1.25), rng.uniform(0.8, 1.25)
    shear = math.radians(rng.uniform(-10, 10))
    flips = [-1 if rng.random() < 0.5 else 1 for _ in range(2)]
    matrix = affine_inverse(angle, shear, scales[0] * flips[0], scales[1] * flips[1], rows, cols)
    fg = cv2.warpAffine(fg, matrix, (cols, rows), flags=any_mode(rng) | cv2.WARP_INVERSE_MAP)
    alpha = cv2.warpAffine(alpha, matrix, (cols, rows), flags=any_mode(rng) | cv2.WARP_INVERSE_MAP)
    trimap = make_trimap(alpha, rng)

    bg = cv2.resize(bg, (cols, rows), interpolation=any_mode(rng))
    while min(rows, cols) < CROP + 1:
        ratio = 1.1 * CROP / min(rows, cols)
        rows, cols = int(rows * ratio), int(cols * ratio)
        fg, alpha, bg = (cv2.resize(x, (cols, rows), interpolation=any_mode(rng)) for x in (fg, alpha, bg))
        trimap = cv2.resize(trimap, (cols, rows), interpolation=cv2.INTER_NEAREST)
    top, left = place_crop(trimap, rng)
    fg, alpha, bg, trimap = (x[top : top + CROP, left : left + CROP] for x in (fg, alpha, bg, trimap))

    alpha = np.clip(alpha, 0, 1)
    fg = jitter(fg, alpha, rng) if (alpha > 0).any() else fg
    image = np.clip(fg, 0, 255) * alpha[..., None] + bg * (1 - alpha[..., None])
    return Crop(image.astype(np.float32), alpha, trimap, scales, angle, (top, left), (rows, cols))
