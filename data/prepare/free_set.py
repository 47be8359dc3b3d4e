"""Training and validation set of cut-outs, photographs and drawings, split by object.

Objects that are held out never occur in training, in whatever composite; neither do the photographs behind them. What
is finished is not made again.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from data.files import FileError, read_cutout, read_image, write_atomic, write_png
from data.prepare.drawn import draw_foreground
from data.products.backgrounds import covering_ratio, random_part
from data.training.crops import blend
from data.trimap import is_unknown, trimap_from_alpha

VALIDATION = ("original", "trimap", "mask")
_VIEW = re.compile(r"([_-]?c?\d+|[_-][a-z])+$")  # what tells views and crops of one object apart


def object_of(stem: str) -> str:
    """Object's name without view numbers.

    `oak_1` and `oak_2` are one object, and so are `lake_c1` and `lake_c2`.
    """
    return _VIEW.sub("", stem) or stem


def draw_held_out(stems: list[str], share: float, rng: np.random.Generator) -> list[str]:
    """Stems of randomly drawn whole objects, at least `share` of all."""
    objects: dict[str, list[str]] = {}
    for stem in sorted(stems):
        objects.setdefault(object_of(stem), []).append(stem)
    held_out: list[str] = []
    for index in rng.permutation(len(objects)):
        if len(held_out) >= share * len(stems):
            break
        held_out += objects[sorted(objects)[index]]
    return sorted(held_out)


@dataclass(frozen=True)
class Drawing:
    """Foreground to draw, determined by its kind and seed."""

    kind: str
    seed: int
    texture: Path
    target: Path

    def make(self) -> bool:
        """Write the cut-out as WebP with lossless alpha, unless it exists.

        Returns False if it was there.
        """
        if self.target.is_file():
            return False
        rng = np.random.default_rng(self.seed)
        longer, ratio = int(rng.integers(384, 768)), rng.uniform(0.7, 1)
        size = (longer, round(longer * ratio)) if rng.random() < 0.5 else (round(longer * ratio), longer)
        picture = draw_foreground(self.kind, size, rng, read_image(self.texture))
        encoded = io.BytesIO()
        Image.fromarray(picture).save(encoded, "WEBP", quality=90, alpha_quality=100, exact=True)
        write_atomic(self.target, encoded.getvalue())
        return True


@dataclass(frozen=True)
class ValidationComposite:
    """A cut-out over a photograph, with trimap and true alpha."""

    name: str
    cutout: Path
    background: Path
    seed: int
    max_side_px: int
    output: Path

    def make(self) -> bool:
        """Write original/, trimap/ and mask/, original/ last, unless they exist.

        Returns False if they were there.
        """
        targets = {folder: self.output / folder / f"{self.name}.png" for folder in VALIDATION}
        if targets["original"].is_file():
            return False
        rng = np.random.default_rng(self.seed)
        colour, alpha = read_cutout(self.cutout)
        if alpha.dtype != np.uint8:
            raise FileError(f"{self.cutout}: cut-outs of a validation set have 8 bits")
        colour, alpha = _reduced(colour, alpha, self.max_side_px)
        photograph = read_image(self.background)
        ratio = max(1.0, covering_ratio(photograph, alpha.shape))
        background = random_part(photograph, alpha.shape, ratio, rng)
        weight = alpha.astype(np.float32) / 255
        image = blend(colour.astype(np.float32), background.astype(np.float32), weight)
        widths = rng.integers(3, 25, size=2, endpoint=True)
        trimap = trimap_from_alpha(weight, int(widths[0]), int(widths[1]))
        if not is_unknown(trimap).any():
            raise FileError(f"{self.cutout}: nothing of it is unknown")
        write_png(targets["mask"], alpha)
        write_png(targets["trimap"], trimap)
        write_png(targets["original"], np.rint(image).astype(np.uint8))
        return True


def _reduced(colour: np.ndarray, alpha: np.ndarray, max_side_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour and alpha averaged down to a longest side.

    Colours are weighted by alpha, so that none bleeds in.
    """
    ratio = max_side_px / max(alpha.shape)
    if ratio >= 1:
        return colour, alpha
    size = tuple(max(1, round(side * ratio)) for side in alpha.shape[::-1])
    weight = alpha.astype(np.float32)[..., None] + 0.01
    small_weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)[..., None]
    small = cv2.resize(colour * weight, size, interpolation=cv2.INTER_AREA) / small_weight
    small_alpha = np.rint(small_weight[..., 0] - 0.01).clip(0, 255).astype(np.uint8)
    return np.rint(small).clip(0, 255).astype(np.uint8), small_alpha
