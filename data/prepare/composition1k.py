"""Composition-1k from its parts, exactly as published.

Every test foreground lies over twenty listed backgrounds.

The published blend works pixel by pixel with Python's floats and cuts the result to an integer; `blend_rows` does the
same arithmetic in the same order on whole rows. Files are opened as stored: no EXIF rotation, no colour management.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data.files import (
    FileError,
    encode_png,
    load_image,
    make_folder,
    read_bytes,
    remove_leftovers,
    write_atomic,
    write_png,
)

BACKGROUNDS_EACH = 20
LAYOUT = ("merged", "alpha_copy", "trimaps")
_ROWS = 32  # a band of float64 rows stays in the cache


@dataclass(frozen=True)
class Composite:
    """One composite to make: its name and source files."""

    name: str
    foreground: Path
    alpha: Path
    background: Path
    trimap: Path | None


@dataclass
class Plan:
    """Composites that can be made, and one line per missing file."""

    composites: list[Composite]
    problems: list[str]


def read_list(path: Path) -> list[str]:
    """File names, one per line; empty lines do not count."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: the list cannot be read ({error})") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise FileError(f"{path}: the list is empty")
    return names


def plan(
    foreground_names: list[str],
    background_names: list[str],
    foregrounds: Path,
    alphas: Path,
    backgrounds: Path,
    trimaps: Path | None,
    each: int = BACKGROUNDS_EACH,
) -> Plan:
    """Pair the names of both lists in order.

    Foreground k gets backgrounds each * k ... each * k + each - 1.
    """
    if len(background_names) != each * len(foreground_names):
        raise FileError(
            f"{len(foreground_names)} foregrounds need {each * len(foreground_names)} backgrounds ({each} each), "
            f"but the list names {len(background_names)}"
        )
    stems = [Path(name).stem for name in foreground_names]
    if repeated := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise FileError(f"the list of foregrounds names {repeated[0]} more than once")
    folders = {folder: _by_stem(folder) for folder in {foregrounds, alphas, backgrounds, trimaps} - {None}}
    result = Plan([], [])
    for index, stem in enumerate(stems):
        foreground, alpha = folders[foregrounds].get(stem), folders[alphas].get(stem)
        if foreground is None or alpha is None:
            missing = foregrounds if foreground is None else alphas
            result.problems.append(f"{foreground_names[index]}: not in {missing}; its {each} composites cannot be made")
            continue
        for number in range(each):
            name = f"{stem}_{number}"
            background_name = background_names[index * each + number]
            background = folders[backgrounds].get(Path(background_name).stem)
            trimap = folders[trimaps].get(name) if trimaps else None
            if background is None:
                result.problems.append(f"{name}: background {background_name} is not in {backgrounds}")
            elif trimaps and trimap is None:
                result.problems.append(f"{name}: no trimap {name}.png in {trimaps}")
            else:
                result.composites.append(Composite(name, foreground, alpha, background, trimap))
    return result


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileError(f"{folder}: is not a folder")
    return {path.stem: path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")}


def build(composite: Composite, output: Path) -> bool:
    """Write merged/, alpha_copy/ and trimaps/ of one composite.

    Returns False if all were there already.

    The merged image is written last: it being there means that the whole composite is.
    """
    targets = {folder: output / folder / f"{composite.name}.png" for folder in LAYOUT}
    if composite.trimap is None:
        del targets["trimaps"]
    if all(path.is_file() for path in targets.values()):
        return False
    foreground, alpha = load_image(composite.foreground), load_image(composite.alpha)
    if foreground.size != alpha.size:
        raise FileError(f"{composite.foreground}: is {foreground.size}, but its alpha is {alpha.size} (width, height)")
    background = fit_background(_to_rgb(load_image(composite.background)), foreground.size)
    merged = blend_rows(np.asarray(_to_rgb(foreground)), np.asarray(background), first_channel(alpha))
    if composite.trimap is not None:
        trimap = load_image(composite.trimap)
        if trimap.size != foreground.size:
            raise FileError(f"{composite.trimap}: is {trimap.size}, but the foreground is {foreground.size}")
        write_atomic(targets["trimaps"], _as_png(composite.trimap, trimap))
    write_atomic(targets["alpha_copy"], _as_png(composite.alpha, alpha))
    write_png(targets["merged"], merged)
    return True


def fit_background(background: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Enlarge an RGB background to cover size (width, height); cut at the top left.

    One that covers already is only cut. The product of width and ratio is rounded up even where floating point puts it
    a hair above a whole number, as the published sizes were.
    """
    ratio = max(size[0] / background.width, size[1] / background.height)
    if ratio > 1:
        enlarged = math.ceil(background.width * ratio), math.ceil(background.height * ratio)
        background = background.resize(enlarged, Image.Resampling.BICUBIC)
    return Image.fromarray(np.asarray(background)[: size[1], : size[0]])  # crop() refuses what Pillow calls a bomb


def blend_rows(foreground: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """int(a * foreground + (1 - a) * background) with a = alpha / 255 in double precision.

    Args:
        foreground, background: (H, W, 3) uint8.
        alpha: (H, W) uint8.
    """
    merged = np.empty_like(foreground)
    for start in range(0, len(alpha), _ROWS):
        rows = slice(start, start + _ROWS)
        weight = alpha[rows, :, None] / 255  # float64
        # Two roundings and one sum, as written out: a fused or rearranged form differs where the result is whole.
        merged[rows] = weight * foreground[rows] + (1 - weight) * background[rows]
    return merged


def first_channel(alpha: Image.Image) -> np.ndarray:
    """uint8 (H, W): red of a colour file, the grey value otherwise."""
    if alpha.mode == "P":
        alpha = alpha.convert("RGB")
    if alpha.mode in ("1", "LA"):
        alpha = alpha.convert("L")
    pixels = np.asarray(alpha)
    if pixels.dtype != np.uint8:
        raise FileError(f"an alpha of mode {alpha.mode} has more than 8 bits; Composition-1k has 8-bit alphas")
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., 0])


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGBA":  # the colour as stored, not multiplied by its alpha
        return Image.merge("RGB", image.split()[:3])
    return image if image.mode == "RGB" else image.convert("RGB")


def _as_png(path: Path, image: Image.Image) -> bytes:
    """Bytes of a PNG file; other formats by their first channel."""
    return read_bytes(path) if image.format == "PNG" else encode_png(first_channel(image))


def prepare_folders(output: Path, folders: Iterable[str] = LAYOUT) -> None:
    """Make the folders of a set and remove leftovers of killed runs."""
    for folder in folders:
        make_folder(output / folder)
        remove_leftovers(output / folder)
