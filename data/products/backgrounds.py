"""Backgrounds of composites: a colour, a picture, or a folder of pictures."""

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import ImageColor

from data.files import FileError, read_image
from data.folders import images_by_name


@dataclass(frozen=True)
class Background:
    """A colour, or files of which each image gets one by name."""

    colour: tuple[int, int, int] | None = None
    files: Sequence[Path] = ()

    @classmethod
    def parse(cls, text: str) -> "Background":
        """Parse a path, a colour name or #rrggbb; existing paths take precedence."""
        path = Path(text)
        if path.is_dir():
            files = [paths[0] for _, paths in sorted(images_by_name(path).items())]
            if not files:
                raise FileError(f"{path}: holds no pictures to lay the cut-outs over")
            return cls(files=files)
        if path.is_file():
            read_image(path)  # damaged ones are refused now, not after the first matte
            return cls(files=(path,))
        try:
            return cls.of_colour(text)
        except ValueError:
            raise FileError(f"{text}: is neither a file, nor a folder, nor a colour (white, #20a050)") from None

    @classmethod
    def of_colour(cls, text: str) -> "Background":
        """Parse a colour name or #rrggbb.

        Raises:
            ValueError: it is neither.
        """
        try:
            return cls(colour=ImageColor.getrgb(text)[:3])
        except ValueError:
            raise ValueError(f"{text!r} is no colour: write a name (white) or #rrggbb (#20a050)") from None

    def file(self, name: str) -> Path:
        """The file that an image of this name is laid over."""
        return self.files[zlib.crc32(os.fsencode(name)) % len(self.files)]

    def picture(self, name: str, height: int, width: int) -> np.ndarray:
        """Background (H, W, 3) float32 in [0, 1].

        A picture is scaled to cover, and cut evenly on both sides.
        """
        if self.colour is not None:
            return np.broadcast_to(np.array(self.colour, np.float32) / 255, (height, width, 3))
        picture = read_image(self.file(name))
        ratio = covering_ratio(picture, (height, width))
        size = max(width, round(picture.shape[1] * ratio)), max(height, round(picture.shape[0] * ratio))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC)
        top, left = (size[1] - height) // 2, (size[0] - width) // 2
        return picture[top : top + height, left : left + width].astype(np.float32) / 255


def covering_ratio(picture: np.ndarray, size: tuple[int, int]) -> float:
    """Scale at which a picture covers (height, width)."""
    return max(need / have for need, have in zip(size, picture.shape, strict=False))


def random_part(picture: np.ndarray, size: tuple[int, int], ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Random part of (height, width) of a picture that is scaled by `ratio`."""
    if ratio != 1:
        height, width = (max(need, round(have * ratio)) for need, have in zip(size, picture.shape, strict=False))
        interpolation = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
        picture = cv2.resize(picture, (width, height), interpolation=interpolation)
    top, left = (int(rng.integers(have - need, endpoint=True)) for have, need in zip(picture.shape, size, strict=False))
    return np.ascontiguousarray(picture[top : top + size[0], left : left + size[1]])
