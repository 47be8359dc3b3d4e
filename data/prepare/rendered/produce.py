"""A foreground file from its kind and seed."""

import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data.files import write_atomic
from data.prepare.drawing import defocus, move
from data.prepare.rendered.clear import CLEAR_KINDS
from data.prepare.rendered.finish import developed
from data.prepare.rendered.nets import NET_KINDS
from data.prepare.rendered.plants import PLANT_KINDS
from data.prepare.rendered.raster import render
from data.prepare.rendered.recipes import STRAND_KINDS, make_scene
from data.prepare.rendered.solids import SOLID_KINDS

GROUPS = {
    "hair": tuple(STRAND_KINDS),
    "plants": tuple(PLANT_KINDS),
    "nets": tuple(NET_KINDS),
    "clear": tuple(CLEAR_KINDS),
    "solids": tuple(SOLID_KINDS),
}
KINDS = tuple(kind for group in GROUPS.values() for kind in group)
SIZES = {512: 0.2, 640: 0.3, 768: 0.2, 1024: 0.2, 1280: 0.1}  # sides in pixels, and how often
REFERENCE_PX = 640  # side at which lengths of blur hold
COVERED = (0.03, 0.93)  # mean alpha of a picture that is kept; the last attempt is kept anyway
ATTEMPTS = 6
MOVED = 0.06  # share of pictures that are smeared; of solids all are smeared or out of focus
WEBP_QUALITY = 93  # of the colour; alpha is lossless


@dataclass(frozen=True)
class Rendering:
    """Foreground to be made, defined by kind, seed and size."""

    kind: str
    seed: int
    folder: Path
    size: int | None = None

    @property
    def target(self) -> Path:
        # The word at the end keeps each picture an object of its own where sets are split by object.
        return self.folder / f"{self.kind}_{self.seed:05d}_rendered.webp"

    def make(self) -> bool:
        """Write the file; False if it was there."""
        if self.target.is_file():
            return False
        write_atomic(self.target, encoded(make_foreground(self.kind, self.seed, self.size)))
        return True


def make_foreground(kind: str, seed: int, size: int | None = None) -> np.ndarray:
    """Straight RGBA, uint8 (side, side, 4), of a drawn or given side."""
    rng = generator(kind, seed)
    size = size or int(rng.choice(list(SIZES), p=list(SIZES.values())))
    for attempt in range(ATTEMPTS):
        if kind in CLEAR_KINDS:
            picture = CLEAR_KINDS[kind](size, generator(kind, seed, attempt))
        else:
            picture = render(make_scene(kind, generator(kind, seed, attempt)), size)
        if COVERED[0] < picture[..., 3].mean() < COVERED[1]:
            break
    return developed(blurred(picture, kind in SOLID_KINDS, rng), rng)


def generator(kind: str, *numbers: int) -> np.random.Generator:
    """Random numbers that depend on the kind and on these numbers only."""
    return np.random.default_rng([zlib.crc32(kind.encode()), *numbers])


def blurred(picture: np.ndarray, always: bool, rng: np.random.Generator) -> np.ndarray:
    """Smear or defocus a premultiplied picture, rarely unless `always`."""
    unit = picture.shape[0] / REFERENCE_PX
    if always and rng.random() < 0.5:
        return defocus(picture, np.exp(rng.uniform(np.log(1.5), np.log(20))) * unit)
    if always or rng.random() < MOVED:
        return move(picture, np.exp(rng.uniform(np.log(5), np.log(60))) * unit, rng.uniform(0, np.pi))
    return picture


def encoded(rgba: np.ndarray) -> bytes:
    """WebP file of uint8 (H, W, 4) with lossless alpha."""
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "WEBP", quality=WEBP_QUALITY, alpha_quality=100, exact=True, method=4)
    return buffer.getvalue()
