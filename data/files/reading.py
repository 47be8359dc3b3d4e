"""Reading photographs, alphas, trimaps, cut-outs and metadata. Colour is straight RGB, upright."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from data.files.decoding import ORIENTATION_TAG, Picture, decode, open_header, orientation
from data.files.guard import FileError, reason
from data.trimap import BACKGROUND_UP_TO, FOREGROUND_FROM, LEVELS, UNKNOWN, snap_trimap

logger = logging.getLogger(__name__)

COLOURED_FROM = 64  # how far apart the channels of a trimap's pixel are where it is no grey but a colour


@dataclass(frozen=True)
class Metadata:
    """Metadata kept in cut-outs: RGB colour profile, and EXIF marked as upright."""

    icc: bytes | None = None
    exif: bytes | None = None


def read_image(path: str | Path, reduction: int = 1, writeable: bool = True) -> np.ndarray:
    """Read a photograph as uint8 (H, W, 3) RGB, without alpha channel.

    16 bits are rounded to 8.

    Args:
        reduction: as in `decode`.
        writeable: False saves a copy where nobody writes into the picture.
    """
    pixels = to_uint8(_as_colours(first_picture(path, decode(path, reduction=reduction))))
    return _own(pixels) if writeable else pixels


def read_colours(path: str | Path) -> np.ndarray:
    """Read a photograph as (H, W, 3) RGB at its stored depth.

    uint8 or uint16; an alpha channel is dropped.
    """
    return _own(_as_colours(decode(path).pixels))


def read_alpha(path: str | Path) -> np.ndarray:
    """Read the first channel as (H, W), in its stored depth."""
    return _own(first_channel(first_picture(path, decode(path))))


def read_cutout(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read an RGBA file: colour, uint8 (H, W, 3); alpha, (H, W) in its stored depth."""
    pixels = decode(path, alpha=True).pixels
    if pixels.ndim != 3 or pixels.shape[2] != 4:
        raise FileError(f"{path}: has no alpha channel; a cut-out is an RGBA file (or use folders fg/ and alpha/)")
    return np.ascontiguousarray(to_uint8(pixels[..., :3])), np.ascontiguousarray(pixels[..., 3])


def read_trimap(path: str | Path, others: Literal["warn", "snap", "refuse"] = "warn") -> np.ndarray:
    """Read a trimap as uint8 (H, W) of 0, 128, 255.

    Args:
        others: other values are snapped with a warning, snapped, or refused. Where they are snapped, colours (of an
            overlay) mean unknown.
    """
    pixels = to_uint8(first_picture(path, decode(path)))
    raw = first_channel(pixels)
    if others == "refuse":
        strange = np.setdiff1d(np.flatnonzero(np.bincount(raw.ravel(), minlength=256)), LEVELS)
        if strange.size:
            listed = ", ".join(map(str, strange[:5])) + (", ..." if strange.size > 5 else "")
            raise FileError(f"{path}: the trimap holds values other than 0, 128 and 255 ({listed})")
        return _own(raw)
    trimap = snap_trimap(raw)
    if pixels.ndim == 3:
        trimap[np.ptp(pixels, axis=2) >= COLOURED_FROM] = UNKNOWN
    changed = int(np.count_nonzero(trimap != raw))
    if changed and others == "warn":
        logger.warning(
            "%s: trimap has values other than 0, 128, 255; snapped %d of %d pixels (up to %d: background, from %d: "
            "foreground, else unknown)",
            path,
            changed,
            raw.size,
            BACKGROUND_UP_TO,
            FOREGROUND_FROM,
        )
    return trimap


def read_metadata(path: str | Path) -> Metadata:
    """Read colour profile and EXIF.

    A profile for grey or CMYK does not fit RGB and is left out.
    """
    image = open_header(path).image
    try:
        icc, exif = image.info.get("icc_profile"), image.getexif()
        if exif:
            exif[ORIENTATION_TAG] = 1
        block = exif.tobytes().removeprefix(b"Exif\0\0") if exif else None
    except Exception as error:  # damaged EXIF raises many types, and is no reason to refuse the picture
        logger.warning("%s: its metadata cannot be read and is left out (%s)", path, reason(error))
        return Metadata()
    return Metadata(icc if icc and icc[16:20] == b"RGB " else None, block)


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the upright image, from the header alone."""
    header = open_header(path)
    width, height = header.image.size
    return (width, height) if orientation(path, header) >= 5 else (height, width)


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Round uint16 to uint8 (65535 = 255 * 257); uint8 stays as it is."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def first_channel(pixels: np.ndarray) -> np.ndarray:
    """First stored channel (H, W) of a picture, never a weighted grey."""
    return np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[..., 0])


def _as_colours(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def _own(pixels: np.ndarray) -> np.ndarray:
    """Writable copy of the pixels, if they are read-only, for torch."""
    return pixels if pixels.flags.writeable else pixels.copy()


def first_picture(path: str | Path, picture: Picture) -> np.ndarray:
    """Pixels of a decoded file; warn where it holds further pictures."""
    if picture.several:
        logger.warning("%s: holds several pictures (an animation, or pages); the first one is read", path)
    return picture.pixels
