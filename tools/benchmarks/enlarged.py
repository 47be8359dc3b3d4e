"""Camera-sized pictures with true alphas: enlarged photographs and drawn composites."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data.files import FileError, decode, read_alpha, read_image, read_trimap, to_uint8
from data.folders import images_by_name
from data.prepare.drawn import draw_foreground
from data.products.backgrounds import covering_ratio, random_part
from data.trimap import trimap_from_alpha
from engine.training.validation import validation_pairs

KINDS = ("hair", "fur", "leaves", "grass", "net")
NOISE = 2.0  # standard deviation of the sensor noise of composites, in levels
BAND_SHARES = 0.005, 0.015  # kernels of their trimaps, into the object and out of it, per longer side


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
    photographs, size = _photographs(backgrounds), (side_px * 3 // 4, side_px)
    for number in range(count):
        rng, kind = np.random.default_rng(number), KINDS[number % len(KINDS)]
        texture = read_image(photographs[rng.integers(len(photographs))])
        behind = read_image(photographs[rng.integers(len(photographs))])
        yield _composite(f"{kind} {number}", draw_foreground(kind, size, rng, texture), behind, rng)


def composed(foregrounds: Path, backgrounds: Path) -> Iterator[Case]:
    """Composites of foregrounds with alpha (`tools/render_foregrounds.py --size 2400`); the same for the same files."""
    photographs = _photographs(backgrounds)
    for number, (name, paths) in enumerate(sorted(images_by_name(foregrounds).items())):
        rng = np.random.default_rng(number)
        layer = decode(paths[0], alpha=True).pixels
        if layer.ndim != 3 or layer.shape[2] != 4:
            raise FileError(f"{paths[0]}: has no alpha channel")
        yield _composite(name, to_uint8(layer), read_image(photographs[rng.integers(len(photographs))]), rng)


def _photographs(folder: Path) -> list[Path]:
    photographs = [paths[0] for _, paths in sorted(images_by_name(folder).items())]
    if not photographs:
        raise FileError(f"{folder}: holds no photographs")
    return photographs


def _composite(name: str, layer: np.ndarray, behind: np.ndarray, rng: np.random.Generator) -> Case:
    """Foreground (H, W, 4) over part of a photograph, with noise and trimap."""
    size, layer = layer.shape[:2], layer.astype(np.float32)
    alpha = layer[..., 3] / 255
    background = random_part(behind, size, covering_ratio(behind, size), rng).astype(np.float32)
    image = background + (layer[..., :3] - background) * alpha[..., None]
    image += rng.normal(0, NOISE, image.shape).astype(np.float32)
    trimap = trimap_from_alpha(alpha, *(int(max(size) * share) | 1 for share in BAND_SHARES))
    return Case(name, np.rint(np.clip(image, 0, 255)).astype(np.uint8), trimap, alpha)
