"""Contact sheets: image, trimap and mattes, with enlarged crops of disagreement."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tools.comparison.disagreement import Box, worst_boxes

CELL_PX = 320
GAP_PX = 6
TEXT_PX = 24
PAPER, INK, FRAME = (250, 250, 250), (20, 20, 20), (230, 30, 30)
_MISSING = (200, 200, 200)
_FONT, _TEXT_SCALE, _SMALLEST_TEXT = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 0.3


@dataclass(frozen=True)
class Panel:
    """One column of a sheet.

    Attributes:
        lines: what is written above it, ASCII.
        pixels: uint8 (H, W, 3) or (H, W); None where there is no result.
    """

    lines: tuple[str, ...]
    pixels: np.ndarray | None


def make_sheet(image: np.ndarray, trimap: np.ndarray, mattes: Sequence[Panel], truth: Panel | None) -> np.ndarray:
    """Sheet, uint8 RGB: whole pictures, then crops of the largest disagreement.

    Args:
        image: uint8 (H, W, 3).
        trimap: uint8 (H, W).
        mattes: one panel a model, of uint8 (H, W) alphas.
        truth: the true alpha, the last column where there is one.
    """
    boxes = worst_boxes([matte.pixels for matte in mattes if matte.pixels is not None])
    columns = [Panel(("image",), image), Panel(("trimap",), trimap), *mattes, *([truth] if truth else [])]
    head = max(len(panel.lines) for panel in columns)
    rows = [np.hstack([_gap(_caption(panel.lines, head)) for panel in columns])]
    whole = [Panel((), framed(image, boxes)), *columns[1:]]
    rows.append(np.hstack([_gap(fit_cell(panel.pixels, image.shape[:2])) for panel in whole]))
    for number, box in enumerate(boxes, 1):
        where = f"{number}: x {box.left}, y {box.top}, {box.width} x {box.height} px"
        captions = [_caption((where,), 1), *[_caption((), 1)] * (len(columns) - 1)]
        rows.append(np.hstack([_gap(caption) for caption in captions]))
        crops = [None if panel.pixels is None else panel.pixels[box.slices()] for panel in columns]
        rows.append(np.hstack([_gap(fit_cell(crop, (box.height, box.width))) for crop in crops]))
    return np.vstack(rows)


def framed(image: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """Copy of the image with numbered frames, visible at a cell's size."""
    image = image.copy()
    unit = max(image.shape[:2]) / CELL_PX
    thickness = max(round(1.5 * unit), 1)
    for number, box in enumerate(boxes, 1):
        corners = (box.left, box.top), (box.left + box.width - 1, box.top + box.height - 1)
        cv2.rectangle(image, *corners, FRAME, thickness)
        if unit >= 0.5:  # smaller images have no room for a number
            side = round(18 * unit)
            cv2.rectangle(image, corners[0], (box.left + side, box.top + side), FRAME, cv2.FILLED)
            base = box.left + round(4 * unit), box.top + round(15 * unit)
            cv2.putText(image, str(number), base, _FONT, 0.55 * unit, PAPER, max(round(1.5 * unit), 1), cv2.LINE_AA)
    return image


def fit_cell(pixels: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    """Picture fitted into a cell, uint8 RGB, on grey."""
    height, width = size
    scale = CELL_PX / max(height, width)
    height, width = max(round(height * scale), 1), max(round(width * scale), 1)
    cell = np.full((CELL_PX if height > width else height, CELL_PX, 3), PAPER, np.uint8)
    if pixels is None:
        pixels = np.full((1, 1, 3), _MISSING, np.uint8)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    left = (CELL_PX - width) // 2
    cell[:, left : left + width] = cv2.resize(pixels, (width, height), interpolation=how)
    return cell


def _caption(lines: Sequence[str], count: int) -> np.ndarray:
    strip = np.full((TEXT_PX * count, CELL_PX, 3), PAPER, np.uint8)
    for row, line in enumerate(lines):
        scale = _TEXT_SCALE
        while scale > _SMALLEST_TEXT and cv2.getTextSize(line, _FONT, scale, 1)[0][0] > CELL_PX:
            scale -= 0.02
        cv2.putText(strip, line, (0, TEXT_PX * (row + 1) - 8), _FONT, scale, INK, 1, cv2.LINE_AA)
    return strip


def _gap(cell: np.ndarray) -> np.ndarray:
    gap = GAP_PX // 2
    return cv2.copyMakeBorder(cell, gap, gap, gap, gap, cv2.BORDER_CONSTANT, value=PAPER)
