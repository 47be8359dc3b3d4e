"""Previews for the eye: overlays, checkerboards, panels side by side."""

from collections.abc import Sequence

import cv2
import numpy as np

from data.files import quantise
from data.trimap import BACKGROUND, is_unknown

CHECKER_SQUARE_PX = 16
CHECKER_GREYS = (102, 153)
_UNKNOWN_TINT = np.array((255, 64, 64), np.float32)
_KEPT_TINT = np.array((255, 200, 0), np.float32)


def checkerboard(height: int, width: int, square_px: int = CHECKER_SQUARE_PX) -> np.ndarray:
    """(H, W, 3) uint8 of grey squares."""
    odd = (np.arange(height)[:, None] // square_px + np.arange(width) // square_px) % 2
    return np.repeat(np.array(CHECKER_GREYS, np.uint8)[odd][..., None], 3, axis=2)


def over(foreground: np.ndarray, alpha: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Composite float layers (H, W, 3) with alpha (H, W)."""
    return background + (foreground - background) * alpha[..., None]


def preview(
    image: np.ndarray, trimap: np.ndarray, alpha: np.ndarray, foreground: np.ndarray, keep: Sequence[np.ndarray]
) -> np.ndarray:
    """Panels: input, trimap, alpha, cut-out over a checkerboard, tokens per routed block.

    Args:
        image: (H, W, 3) uint8.
        trimap: (H, W) uint8.
        alpha: (H, W) float32.
        foreground: (H, W, 3) float32.
        keep: (h, w) bool, one per block.
    """
    cutout = over(foreground, alpha, checkerboard(*alpha.shape).astype(np.float32) / 255)
    shown = [
        ("image", image),
        ("trimap", overlay_trimap(image, trimap)),
        ("alpha", quantise(alpha)),
        ("cut-out", quantise(cutout)),
    ]
    for number, sent in enumerate(keep, 1):
        caption = f"routing {number}: {100 * sent.mean():.0f} % to full attention"
        shown.append((caption, overlay_tokens(image, sent)))
    return panels(shown)


def overlay_trimap(image: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """Overlay, uint8 (H, W, 3): unknown band red, background darkened."""
    shown = image.astype(np.float32)
    shown[trimap == BACKGROUND] *= 0.35
    unknown = is_unknown(trimap)
    shown[unknown] = 0.5 * shown[unknown] + 0.5 * _UNKNOWN_TINT
    return np.rint(shown).astype(np.uint8)


def overlay_tokens(image: np.ndarray, keep: np.ndarray, token_px: int = 16) -> np.ndarray:
    """Overlay, uint8 (H, W, 3): tokens of global attention in yellow.

    The tokens are (h, w); the image is darkened.
    """
    height, width = image.shape[:2]
    sent = np.repeat(np.repeat(keep, token_px, axis=0), token_px, axis=1)[:height, :width]
    shown = image.astype(np.float32) * 0.4
    shown[sent] = 0.5 * image[sent] + 0.5 * _KEPT_TINT
    return np.rint(shown).astype(np.uint8)


def panels(pictures: Sequence[tuple[str, np.ndarray]], columns: int = 4, max_side_px: int = 640) -> np.ndarray:
    """Captioned uint8 pictures in rows, reduced to `max_side_px` at most."""
    height, width = pictures[0][1].shape[:2]
    scale = min(1.0, max_side_px / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    cells = [_cell(caption, picture, size) for caption, picture in pictures]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % min(columns, len(cells)))
    columns = min(columns, len(cells))
    rows = [np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    return np.vstack(rows)


def _cell(caption: str, picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    header = np.full((24, size[0], 3), 255, np.uint8)
    cv2.putText(header, caption, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return cv2.copyMakeBorder(np.vstack([header, picture]), 0, 4, 0, 4, cv2.BORDER_CONSTANT, value=(255, 255, 255))
