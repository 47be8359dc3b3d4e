"""UHR-395 and UHRIM laid out for training and evaluation: checked, reduced, tiled."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from data.files import (
    FileError,
    image_size,
    make_folder,
    read_alpha,
    read_bytes,
    read_image,
    read_trimap,
    write_atomic,
    write_png,
)
from data.folders import images_by_name
from data.masks import DEFAULT_WIDTH, drawn_widths, trimap_from_mask
from data.trimap import keep_extremes

IMAGE_FOLDERS = ("image", "images", "im", "fg", "merged", "original")
ALPHA_FOLDERS = ("alpha", "alphas", "alpha_copy", "mask", "gt")
TRIMAP_FOLDERS = ("trimap", "trimaps")
FOLDERS = {"train": ("fg", "alpha"), "test": ("merged", "alpha_copy", "trimaps")}
Split = Literal["train", "test"]


@dataclass(frozen=True)
class Settings:
    """Settings of the prepared pictures.

    Attributes:
        long_side_px: reduce larger ones to this.
        tile_px: also cut the training pictures into tiles of this side that hold soft alpha.
        seed: of the trimaps that the set lacks.
    """

    output: Path
    long_side_px: int | None = None
    tile_px: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Item:
    """One picture with its alpha and, where there is one, trimap."""

    split: Split
    name: str
    image: Path
    alpha: Path
    trimap: Path | None = None


def find_items(source: Path, test_names: set[str] | None = None) -> tuple[list[Item], list[str]]:
    """Find the pictures of train/ and test/, or split them by name.

    Returns:
        the items, and one line per incomplete item.
    """
    if not source.is_dir():
        raise FileError(f"{source}: is not a folder")
    items, problems = [], []
    if test_names is not None:
        for item in _find_split(source, "train", problems):
            items.append(
                Item("test", item.name, item.image, item.alpha, item.trimap) if item.name in test_names else item
            )
        if unknown := sorted(test_names - {item.name for item in items}):
            problems.append(f"{unknown[0]}: is in the list of test names, but has no picture ({len(unknown)} such)")
        return items, problems
    found = {entry.name.lower(): entry for entry in source.iterdir() if entry.is_dir()}
    if not {"train", "test"} & set(found):
        raise FileError(f"{source}: holds neither train/ nor test/; name the test pictures with a list instead")
    for split in ("train", "test"):
        if split in found:
            items += _find_split(found[split], split, problems)
    return items, problems


def _find_split(folder: Path, split: Split, problems: list[str]) -> list[Item]:
    images, alphas = (images_by_name(_only_folder(folder, names)) for names in (IMAGE_FOLDERS, ALPHA_FOLDERS))
    trimap_folder = next((folder / name for name in TRIMAP_FOLDERS if (folder / name).is_dir()), None)
    trimaps = images_by_name(trimap_folder) if trimap_folder else {}
    problems += [f"{name}: has an alpha but no picture" for name in sorted(alphas.keys() - images.keys())]
    problems += [f"{name}: has a picture but no alpha" for name in sorted(images.keys() - alphas.keys())]
    return [
        Item(split, name, images[name][0], alphas[name][0], trimaps[name][0] if name in trimaps else None)
        for name in sorted(images.keys() & alphas.keys())
    ]


def _only_folder(folder: Path, names: tuple[str, ...]) -> Path:
    found = [folder / name for name in names if (folder / name).is_dir()]
    if len(found) != 1:
        raise FileError(f"{folder}: must hold exactly one of {', '.join(f'{name}/' for name in names)}")
    return found[0]


def prepare(item: Item, settings: Settings) -> bool:
    """Check one picture and write its files, the picture last.

    Returns False if it was there already.
    """
    image_folder, alpha_folder = (settings.output / item.split / name for name in FOLDERS[item.split][:2])
    size = image_size(item.image)
    if image_size(item.alpha) != size:
        raise FileError(f"{item.alpha}: is {image_size(item.alpha)}, but its picture is {size} (height, width)")
    ratio = min(1.0, (settings.long_side_px or max(size)) / max(size))
    suffix = item.image.suffix.lower() if ratio == 1 else ".png"
    target = image_folder / f"{item.name}{suffix}"
    if target.is_file():
        return False
    alpha = read_alpha(item.alpha)
    if alpha.dtype != np.uint8:
        raise FileError(f"{item.alpha}: has 16 bits; the set has 8-bit alphas")
    if not alpha.any() or alpha.min() == 255:
        raise FileError(
            f"{item.alpha}: is {'empty' if not alpha.any() else 'opaque everywhere'}; there is nothing to matte"
        )
    alpha = _reduce(alpha, ratio)
    if item.split == "test":
        write_png(settings.output / "test" / "trimaps" / f"{item.name}.png", _trimap(item, alpha, size, settings.seed))
    image = _reduce(read_image(item.image), ratio)
    if settings.tile_px and item.split == "train":
        for name, rows, columns in tiles(alpha, settings.tile_px):
            for folder, pixels in (("fg", image), ("alpha", alpha)):
                write_png(settings.output / "train_tiles" / folder / f"{item.name}_{name}.png", pixels[rows, columns])
    write_png(alpha_folder / f"{item.name}.png", alpha)
    if ratio == 1:
        make_folder(target.parent)
        write_atomic(target, read_bytes(item.image))
    else:
        write_png(target, image)
    return True


def tiles(alpha: np.ndarray, side_px: int) -> Iterator[tuple[str, slice, slice]]:
    """Tiles with soft alpha, by their corner.

    The last ones are flush with the border.
    """
    height, width = alpha.shape
    for top in _starts(height, side_px):
        for left in _starts(width, side_px):
            rows, columns = slice(top, top + side_px), slice(left, left + side_px)
            tile = alpha[rows, columns]
            if ((tile > 0) & (tile < 255)).any():
                yield f"{top}_{left}", rows, columns


def _starts(length: int, side: int) -> list[int]:
    return sorted({min(start, max(0, length - side)) for start in range(0, length, side)})


def _trimap(item: Item, alpha: np.ndarray, size: tuple[int, int], seed: int) -> np.ndarray:
    if item.trimap is None:
        return trimap_from_mask(alpha, *drawn_widths(DEFAULT_WIDTH, DEFAULT_WIDTH, seed, item.name))
    trimap = read_trimap(item.trimap)
    if trimap.shape != size:
        raise FileError(f"{item.trimap}: is {trimap.shape}, but its picture is {size} (height, width)")
    if trimap.shape == alpha.shape:
        return trimap
    # Reduced: unknown wherever any of it was unknown.
    shrunk = cv2.resize(trimap, alpha.shape[::-1], interpolation=cv2.INTER_AREA)
    return keep_extremes(shrunk)


def _reduce(pixels: np.ndarray, ratio: float) -> np.ndarray:
    if ratio == 1:
        return pixels
    size = max(1, round(pixels.shape[1] * ratio)), max(1, round(pixels.shape[0] * ratio))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
