"""Contact sheet of foregrounds on plain backgrounds."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from data.files import FileError, read_cutout

GROUNDS = ((200, 60, 200), (232, 232, 232), (40, 110, 50), (18, 18, 18), (70, 120, 200))
MOST = 240  # cells; of larger sets every n-th picture is shown


def contact_sheet(paths: Sequence[Path], columns: int = 16, cell: int = 112, quality: int = 72) -> bytes:
    """JPEG file of foregrounds in rows."""
    if not paths:
        raise FileError("a contact sheet needs at least one foreground; there is none in the folder")
    shown = [paths[index] for index in np.unique(np.linspace(0, len(paths) - 1, min(len(paths), MOST)).astype(int))]
    rows = -(-len(shown) // columns)
    sheet = np.full((rows * cell, min(columns, len(shown)) * cell, 3), 255, np.uint8)
    for index, path in enumerate(shown):
        top, left = index // columns * cell, index % columns * cell
        sheet[top : top + cell, left : left + cell] = _cell(path, GROUNDS[index % len(GROUNDS)], cell)
    ok, encoded = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise FileError(f"a contact sheet of {sheet.shape[1]} x {sheet.shape[0]} pixels cannot be encoded")
    return encoded.tobytes()


def _cell(path: Path, ground: tuple[int, int, int], side: int) -> np.ndarray:
    """uint8 (side, side, 3): the whole foreground over one colour."""
    colour, alpha = read_cutout(path)
    weight = (alpha.astype(np.float32) / np.iinfo(alpha.dtype).max)[..., None]
    picture = colour * weight + np.array(ground, np.float32) * (1 - weight)
    ratio = side / max(picture.shape[:2])
    height, width = (max(1, round(length * ratio)) for length in picture.shape[:2])
    small = cv2.resize(picture.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    result = np.full((side, side, 3), ground, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    result[top : top + height, left : left + width] = np.rint(small)
    return result
