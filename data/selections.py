"""Masks by hand, from a box or strokes, without a network.

GrabCut (Rother, Kolmogorov and Blake 2004, in OpenCV) separates the colours on a reduced picture, which takes a
fraction of a second whatever the size of the photograph; near the border, pixels of the photograph itself then decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data.files import FileError, decode, to_uint8

REDUCED_PX = 360  # longer side of the picture that colours are separated on
SURROUNDINGS = 0.25  # of a box, on each side: where the colours of the surroundings are learnt
ITERATIONS = 2
REFINED_PX = 2.5  # reduced pixels on each side of the border that full-size pixels decide about
COVERED = 64  # of 255: the share of a reduced pixel that strokes or surroundings have to cover
LOCAL_PX = 15  # side of the window of the mean colours they are compared with, in reduced pixels
SMALLEST_SHARE = 0.05  # of the largest part; smaller parts of what a box holds are dropped
SMALLEST_BOX_PX = 4
STROKE_OBJECT, STROKE_SURROUNDINGS = 255, 128  # values of strokes; 0 is unmarked
_COLOURED_FROM = 64  # difference of channels that makes a stroke coloured


@dataclass(frozen=True)
class Box:
    """Rectangle around an object, in pixels or shares of the picture."""

    left: float
    top: float
    width: float
    height: float
    relative: bool = False

    @classmethod
    def parse(cls, text: str) -> "Box":
        """Parse "x,y,width,height" in pixels, or in per cent with % signs.

        Raises:
            ValueError: these are not four such numbers.
        """
        parts = [part.strip() for part in text.split(",")]
        relative = [part.endswith("%") for part in parts]
        try:
            numbers = [float(part.removesuffix("%")) for part in parts]
            if len(numbers) != 4 or any(relative) != all(relative) or not np.isfinite(numbers).all():
                raise ValueError
        except ValueError:
            raise ValueError(
                f"{text!r} is no box: write x,y,width,height in pixels (120,80,400,600) or per cent (10%,5%,80%,90%)"
            ) from None
        return cls(*(number / 100 for number in numbers), True) if relative[0] else cls(*numbers)

    def pixels(self, height: int, width: int) -> tuple[int, int, int, int]:
        """top, bottom, left, right inside a picture of height x width pixels.

        Raises:
            ValueError: too little of the box lies inside the picture.
        """
        across, down = (width, height) if self.relative else (1, 1)
        left, right = (round(x * across) for x in (self.left, self.left + self.width))
        top, bottom = (round(y * down) for y in (self.top, self.top + self.height))
        top, bottom, left, right = max(top, 0), min(bottom, height), max(left, 0), min(right, width)
        if min(bottom - top, right - left) < SMALLEST_BOX_PX:
            raise ValueError(f"box {self} lies outside the picture of {width} x {height} pixels, or is too small")
        return top, bottom, left, right

    def __str__(self) -> str:
        numbers = self.left, self.top, self.width, self.height
        return ",".join(f"{100 * number:.4g}%" if self.relative else f"{number:.6g}" for number in numbers)


def mask_from_boxes(image: np.ndarray, boxes: Sequence[Box], strokes: np.ndarray | None = None) -> np.ndarray:
    """Mask of the objects in boxes, one object each.

    Args:
        image: (H, W, 3) uint8.
        strokes: further marks, as `mask_from_strokes` takes them.

    Returns:
        (H, W) uint8 of 0 and 255.

    Raises:
        ValueError: no box, one outside the picture, or nothing that differs from its surroundings.
    """
    if not boxes:
        raise ValueError("no box is given: draw one around each object")
    mask = np.zeros(image.shape[:2], np.uint8)
    for box in boxes:
        top, bottom, left, right = box.pixels(*mask.shape)
        rows, cols = round(SURROUNDINGS * (bottom - top)) + 2, round(SURROUNDINGS * (right - left)) + 2
        around = np.s_[max(top - rows, 0) : bottom + rows, max(left - cols, 0) : right + cols]
        part = image[around]
        hint = np.full(part.shape[:2], cv2.GC_BGD, np.uint8)
        first_row, first_col = top - max(top - rows, 0), left - max(left - cols, 0)
        hint[first_row : first_row + bottom - top, first_col : first_col + right - left] = cv2.GC_PR_FGD
        if (hint == cv2.GC_PR_FGD).all():  # the box is the whole picture: its frame stands for the surroundings
            _mark_frame(hint)
        if strokes is not None:
            hint[strokes[around] == STROKE_SURROUNDINGS] = cv2.GC_BGD
            hint[strokes[around] == STROKE_OBJECT] = cv2.GC_FGD
        found = _separate(part, hint, keep_large=True)
        if not found.any():
            raise ValueError(f"box {box}: nothing in it differs from its surroundings; draw it tighter, or use strokes")
        np.maximum(mask[around], found, out=mask[around])
    return mask


def mask_from_strokes(image: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    """Mask of what strokes mark.

    Args:
        image: (H, W, 3) uint8.
        strokes: (H, W) uint8: 255 on the object, 128 on its surroundings, 0 elsewhere. Without strokes on the
            surroundings, the frame of the picture stands for them.

    Returns:
        (H, W) uint8 of 0 and 255, with only those parts that a stroke marks.

    Raises:
        ValueError: the sizes differ, or no stroke marks the object.
    """
    if strokes.shape != image.shape[:2]:
        raise ValueError(f"strokes are {strokes.shape} but image is {image.shape[:2]}; draw them on the same picture")
    if not (strokes == STROKE_OBJECT).any():
        raise ValueError("no stroke marks the object: draw one on it")
    hint = np.full(strokes.shape, cv2.GC_PR_BGD, np.uint8)
    if not (strokes == STROKE_SURROUNDINGS).any():
        _mark_frame(hint)
    hint[strokes == STROKE_SURROUNDINGS] = cv2.GC_BGD
    hint[strokes == STROKE_OBJECT] = cv2.GC_FGD
    return _separate(image, hint, keep_large=False)


def read_strokes(path: str | Path) -> np.ndarray:
    """Strokes for `mask_from_strokes` from a picture.

    Green or white lies on the object, red or black on its surroundings.

    Transparent pixels, other greys and other colours are unmarked. Without transparency black is unmarked too.

    Raises:
        FileError: the file cannot be read or marks nothing.
    """
    pixels = to_uint8(decode(path, alpha=True).pixels)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    colours = pixels[..., :3].astype(int)
    drawn = pixels[..., 3] >= 128 if pixels.shape[2] == 4 else np.ones(pixels.shape[:2], bool)
    red, green, blue = (colours[..., channel] for channel in range(3))
    strokes = np.zeros(pixels.shape[:2], np.uint8)
    strokes[drawn & ((green - np.maximum(red, blue) >= _COLOURED_FROM) | (colours.min(axis=2) >= 230))] = STROKE_OBJECT
    strokes[drawn & (red - np.maximum(green, blue) >= _COLOURED_FROM)] = STROKE_SURROUNDINGS
    if pixels.shape[2] == 4:
        strokes[drawn & (colours.max(axis=2) <= 25)] = STROKE_SURROUNDINGS
    if not strokes.any():
        raise FileError(f"{path}: holds no strokes; draw in green or white on the object, in red around it")
    return strokes


def _mark_frame(hint: np.ndarray) -> None:
    """Mark the outermost pixels as surroundings; in place."""
    thickness = max(1, round(0.01 * max(hint.shape)))
    for view in (hint, hint[::-1], hint.T, hint.T[::-1]):
        view[:thickness] = cv2.GC_BGD


def _separate(image: np.ndarray, hint: np.ndarray, keep_large: bool) -> np.ndarray:
    """Mask (H, W) of 0 and 255 from the four values of GrabCut.

    Args:
        keep_large: drop small parts; else drop parts without a pixel that is marked as the object.
    """
    scale = max(1.0, max(hint.shape) / REDUCED_PX)
    size = tuple(max(1, round(side / scale)) for side in hint.shape[::-1])
    if min(size) < 2:
        return np.where(hint == cv2.GC_FGD, np.uint8(255), np.uint8(0))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    labels = _reduced(hint, size)
    if (labels == cv2.GC_BGD).all() or not np.isin(labels, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():
        return np.zeros(hint.shape, np.uint8)
    if not (labels == cv2.GC_PR_FGD).any():
        _guess(small, labels)
    cv2.setRNGSeed(0)  # k-means of the colours starts at random
    models = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv2.grabCut(small, labels, None, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    except cv2.error as error:
        raise ValueError("the colours cannot be told apart: mark more of the object and of its surroundings") from error
    inside = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    inside = _parts(inside, None if keep_large else labels == cv2.GC_FGD)
    mask = _refined(image, small, inside)
    mask[hint == cv2.GC_FGD] = 255
    mask[hint == cv2.GC_BGD] = 0
    return mask


def _reduced(hint: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Hints at another size (width, height); thin strokes stay."""
    labels = cv2.resize(hint, size, interpolation=cv2.INTER_NEAREST)
    labels[labels != cv2.GC_PR_FGD] = cv2.GC_PR_BGD
    for value in (cv2.GC_BGD, cv2.GC_FGD):
        covered = cv2.resize(_equal(hint, value), size, interpolation=cv2.INTER_AREA)
        labels[covered >= max(min(COVERED, int(covered.max())), 1)] = value
    return labels


def _equal(values: np.ndarray, value: int) -> np.ndarray:
    """255 where an uint8 array has a value, else 0."""
    return cv2.inRange(values, value, value)


def _guess(image: np.ndarray, labels: np.ndarray) -> None:
    """Mark pixels that resemble an object's strokes as probable, in place.

    They resemble them more than the strokes around it.
    """
    colours = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    rng = np.random.default_rng(0)
    undecided = labels == cv2.GC_PR_BGD
    nearest = []
    for value in (cv2.GC_FGD, cv2.GC_BGD):
        examples = colours[labels == value]
        if not len(examples):
            return
        examples = examples[rng.integers(len(examples), size=min(len(examples), 100))]
        pixels = colours[undecided]
        squared = (pixels**2).sum(1)[:, None] + (examples**2).sum(1) - 2 * pixels @ examples.T
        nearest.append(squared.min(axis=1))
    labels[undecided] = np.where(nearest[0] < nearest[1], cv2.GC_PR_FGD, cv2.GC_PR_BGD)


def _parts(inside: np.ndarray, marked: np.ndarray | None) -> np.ndarray:
    """Connected parts with a marked pixel; large parts without marks.

    Large ones are taken where `marked` is None.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
    if marked is not None:
        kept = np.isin(np.arange(count), np.unique(labels[marked & inside]))
    else:
        areas = stats[:, cv2.CC_STAT_AREA]
        kept = areas >= SMALLEST_SHARE * areas[1:].max(initial=0)
    kept[0] = False
    return kept[labels]


def _refined(image: np.ndarray, small: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Full-size mask, assigned near the border by the nearer mean colour."""
    height, width = image.shape[:2]
    soft = cv2.resize(inside.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_LINEAR)
    mask = cv2.threshold(soft, 127, 255, cv2.THRESH_BINARY)[1]
    if small.shape[:2] == (height, width) or not inside.any() or inside.all():
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (int(2 * REFINED_PX) | 1,) * 2)
    border = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_GRADIENT, kernel)
    border = cv2.findNonZero(cv2.resize(border, (width, height), interpolation=cv2.INTER_NEAREST))
    cols, rows = border.reshape(-1, 2).T
    means = []
    for side in (inside, ~inside):
        weight = cv2.blur(side.astype(np.float32), (LOCAL_PX, LOCAL_PX))
        total = cv2.blur(np.where(side[..., None], small, 0).astype(np.float32), (LOCAL_PX, LOCAL_PX))
        means.append(total / np.maximum(weight, 1e-6)[..., None])
    at = rows * small.shape[0] // height, cols * small.shape[1] // width
    ours, theirs = means[0][at], means[1][at]  # (N, 3)
    axis = ours - theirs
    length = (axis**2).sum(axis=1)
    position = ((image[rows, cols] - theirs) * axis).sum(axis=1) / np.maximum(length, 1e-6)  # 0 theirs, 1 ours
    likely = np.where(length > 100, np.clip(position, 0, 1), 0.5)
    mask[rows, cols] = np.where(likely + soft[rows, cols] / 255 >= 1.0, np.uint8(255), np.uint8(0))
    return mask
