"""Unknown bands without what a picture and a mask decide.

A band holds many pixels that are plainly object or surroundings, and a network is less sure of them than of a narrow
band. An alpha that follows the picture's colours and is held to the mask decides them; what it leaves between both, and
its outline, stay unknown. It is held more firmly the farther a pixel lies from the mask's edge, but hardly at all where
colours outside are the object's: hair beyond a badly drawn edge is not cut off. Inside, colours of the surroundings
loosen it less: an object with a hole in it is worse than a remnant of background.
"""

from collections.abc import Callable

import cv2
import numpy as np

from data.trimap import BACKGROUND, FOREGROUND, UNKNOWN, is_unknown

# Alpha (h, w) float32 of a picture (h, w, 3), a trimap and a mask (h, w), all uint8, and how firmly the mask holds it.
Solve = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]

SOLVED_PX = 800  # longer side to which the picture is reduced for alpha; lengths below are pixels of that
FREE_PX, FIRM_PX = 8.0, 32.0  # distance from the mask's edge where it begins to hold, and where it holds firmly
LOOSER_INSIDE, LOOSER_OUTSIDE = 2.0, 6.0  # powers of ten less firmly where a colour is the other side's
OPEN, MARGIN_PX = 0.05, 2  # alpha so far from 0 and 1 is undecided; pixels around that stay unknown


def decide(image: np.ndarray, values: np.ndarray, trimap: np.ndarray, likeness: np.ndarray, solve: Solve) -> None:
    """Make what is decided known, in place.

    Soft values of the mask stay unknown.

    Args:
        image: (H, W, 3) uint8.
        values: (H, W) uint8 mask, 0 outside, 255 inside, soft between.
        trimap: (H, W) uint8 of 0, 128, 255.
        likeness: (h, w) of a reduced picture, 0 like the surroundings, 1 like the object; NaN where not known.
    """
    scale = max(1.0, max(values.shape) / SOLVED_PX)
    size = tuple(max(1, round(side / scale)) for side in values.shape[::-1])
    mask = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    levels = np.full(mask.shape, UNKNOWN, np.uint8)
    for level in (BACKGROUND, FOREGROUND):
        levels[cv2.resize((trimap == level).astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) == 255] = level
    if set(np.unique(levels)) != {BACKGROUND, UNKNOWN, FOREGROUND}:
        return
    alpha = solve(cv2.resize(image, size, interpolation=cv2.INTER_AREA), levels, mask, hold(mask, likeness))
    decided = cv2.resize(_decided(alpha), values.shape[::-1], interpolation=cv2.INTER_NEAREST)
    chosen = is_unknown(trimap) & ~is_unknown(decided) & ((values == BACKGROUND) | (values == FOREGROUND))
    trimap[chosen] = decided[chosen]


def hold(mask: np.ndarray, likeness: np.ndarray) -> np.ndarray:
    """Firmness with which a mask holds alpha, (h, w) float32 from 0 to 1."""
    inside = mask >= UNKNOWN
    depths = (
        cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for side in (inside, ~inside)
    )
    distance = np.where(inside, *depths)
    like = cv2.resize(likeness, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    looser = np.nan_to_num(np.where(inside, LOOSER_INSIDE * (1 - like), LOOSER_OUTSIDE * like), nan=0.0)
    return (np.clip((distance - FREE_PX) / (FIRM_PX - FREE_PX), 0, 1) * 10**-looser).astype(np.float32)


def _decided(alpha: np.ndarray) -> np.ndarray:
    """Trimap (h, w) of an alpha (h, w), unknown where open and along outlines."""
    inside = (alpha > 0.5).astype(np.uint8)
    outline = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    undecided = outline | ((alpha > OPEN) & (alpha < 1 - OPEN)).astype(np.uint8)
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * MARGIN_PX + 1, 2 * MARGIN_PX + 1))
    return np.where(cv2.dilate(undecided, around) > 0, np.uint8(UNKNOWN), inside * np.uint8(FOREGROUND))
