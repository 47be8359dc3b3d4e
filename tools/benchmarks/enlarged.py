"""Camera-sized pictures with true alphas: enlarged photographs and drawn composites."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data.files import FileError, read_alpha, read_image, read_trimap
from data.folders import images_by_name
from data.prepare.drawn import draw_foreground
from data.products.backgrounds import covering_ratio, random_part
from data.trimap import trimap_from_alpha
from engine.training.validation import validation_pairs

KINDS = ("hair", "fur", "leaves", "grass", "net")
NOISE = 2.0  # standard deviation of the sensor noise of drawn composites, in levels


@dataclass(frozen=True)
class Case:
    """A picture with its true alpha (H, W), float32 in [0, 1]."""

    name: str
    image: np.ndarray
    trimap: np.ndarray
    alpha: np.ndarray


def enlarged(folder: Path, side_px: int | None) -> Iterator[Case]:
    """Images of a folder with true alphas, enlarged to `side_px` if given."""
    for pair in validation_pairs(folder):
        image, trimap, alpha = read_image(pair.image), read_trimap(pair.trimap), read_alpha(pair.alpha)
        alpha = alpha.astype(np.float32) / np.iinfo(alpha.dtype).max
        if side_px is not None:
            scale = side_px / max(trimap.shape)
            size = round(trimap.shape[1] * scale), round(trimap.shape[0] * scale)
            image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
            trimap = cv2.resize(trimap, size, interpolation=cv2.INTER_NEAREST)
            alpha = np.clip(cv2.resize(alpha, size, interpolation=cv2.INTER_CUBIC), 0, 1)
        yield Case(pair.name, image, trimap, alpha)


def drawn(count: int, side_px: int, backgrounds: Path) -> Iterator[Case]:
    """Composites with detail of single pixels; the same for the same arguments."""
    photographs = [paths[0] for _, paths in sorted(images_by_name(backgrounds).items())]
    if not photographs:
        raise FileError(f"{backgrounds}: holds no photographs")
    size = side_px * 3 // 4, side_px
    for number in range(count):
        rng, kind = np.random.default_rng(number), KINDS[number % len(KINDS)]
        texture, behind = (read_image(photographs[rng.integers(len(photographs))]) for _ in range(2))
        layer = draw_foreground(kind, size, rng, texture).astype(np.float32)
        alpha = layer[..., 3] / 255
        background = random_part(behind, size, covering_ratio(behind, size), rng).astype(np.float32)
        image = background + (layer[..., :3] - background) * alpha[..., None]
        image += rng.normal(0, NOISE, image.shape).astype(np.float32)
        trimap = trimap_from_alpha(alpha, *(int(side_px * share) | 1 for share in (0.005, 0.015)))
        yield Case(f"{kind} {number}", np.rint(np.clip(image, 0, 255)).astype(np.uint8), trimap, alpha)
