"""Writing files: one rounding, one PNG encoder, and an atomic writer."""

import errno
import fcntl
import logging
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from data.files.guard import FileError, is_special, reason
from data.files.tags import png_with_record

logger = logging.getLogger(__name__)

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")
_ROWS = 512  # rows quantised at a time, so that no second full-size float buffer exists


def quantise(values: np.ndarray, bits: int = 8) -> np.ndarray:
    """Round floats in [0, 1] to uint8 or uint16, clipping others."""
    levels = np.float64(2**bits - 1)  # float32 would add to the error of 16 bits
    quantised = np.empty(values.shape, np.uint8 if bits == 8 else np.uint16)
    for start in range(0, values.shape[0], _ROWS):
        quantised[start : start + _ROWS] = np.rint(np.clip(values[start : start + _ROWS], 0, 1) * levels)
    return quantised


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG file of uint8 or uint16 pixels: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA."""
    order = slice(None) if pixels.ndim == 2 else [2, 1, 0, 3][: pixels.shape[2]]  # OpenCV takes BGR(A)
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., order]))
    if not encoded:
        raise ValueError(f"an array of shape {pixels.shape} and type {pixels.dtype} cannot be encoded as PNG")
    return data.tobytes()


def write_png(path: str | Path, pixels: np.ndarray, record: str = "") -> None:
    """Write pixels atomically as PNG, creating the folder if needed.

    Pixels are as for `encode_png`.

    Args:
        record: as in `write_alpha`.
    """
    make_folder(Path(path).parent)
    write_atomic(path, png_with_record(encode_png(pixels), record))


def write_alpha(path: str | Path, alpha: np.ndarray, bit_depth: int = 8, record: str = "") -> None:
    """Write an alpha, float (H, W) in [0, 1], as grey PNG.

    Args:
        record: text to store in the file, as `data.records` reads it.
    """
    path = Path(path)
    if bit_depth not in (8, 16):
        raise ValueError(f"bit depth is {bit_depth}; PNG alphas have 8 or 16 bits")
    if path.suffix.lower() != ".png":
        raise FileError(f"{path}: alphas are written as PNG; give the output a name that ends in .png")
    if alpha.ndim != 2 or alpha.size == 0:
        raise ValueError(f"{path}: an alpha has two dimensions (H, W) and at least one pixel, not shape {alpha.shape}")
    if not all(np.isfinite(alpha[start : start + _ROWS]).all() for start in range(0, len(alpha), _ROWS)):
        raise ValueError(f"{path}: the alpha holds values that are not finite; nothing was written")
    write_atomic(path, png_with_record(encode_png(quantise(alpha, bit_depth)), record))


def write_text(path: str | Path, text: str) -> None:
    """Write text as UTF-8, atomically.

    Bytes of file names that are no UTF-8 are written out as \\udc80 to \\udcff.
    """
    write_atomic(path, text.encode("utf-8", "backslashreplace"))


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write a whole file or none.

    After a kill or power loss, the former content is still there.
    """
    path = Path(path)
    try:
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({reason(error)})") from error


def make_folder(folder: Path) -> None:
    """Create a folder and those above it where they are not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be created ({reason(error)})") from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` once written to disk.

    After an error, `path` stays as it was. Code that writes the file by its name must have closed it by the end.
    """
    if path.is_dir() or is_special(path):  # a rename would put a file in the place of a pipe, or of /dev/null
        raise OSError(errno.EEXIST, "it is a folder, a pipe or a device", str(path))
    file = _open_temporary(path.parent)
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        os.replace(file.name, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        try:
            Path(file.name).unlink(missing_ok=True)
            file.close()  # after an error this may fail once more to write what is left
        except OSError:
            logger.debug("%s: the temporary file could not be removed", file.name)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed writers.

    Those of living ones, which hold a lock, stay.
    """
    for path in folder.glob(".*.tmp"):
        if not _TEMPORARY.fullmatch(path.name):
            continue
        try:
            with open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        except OSError:
            logger.debug("%s: is being written, or cannot be removed", path)


def _open_temporary(folder: Path) -> BinaryIO:
    """Open a new, locked file."""
    while True:
        # Hidden, so that no reader of the folder takes it for a result; short, so that the longest legal name works.
        path = folder / f".{uuid.uuid4().hex}.tmp"
        file = open(path, "xb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: leftovers stay there
            logger.debug("%s: cannot be locked", path)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # somebody took it for a leftover before it was locked
