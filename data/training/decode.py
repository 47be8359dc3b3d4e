"""Decoding for training, where it costs more than everything else: no smaller than needed, no oftener than needed.

The same pixels as `data.files` for the common kinds of file, in about half the time; what is uncommon goes there.
"""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from data.files import FileError, read_alpha, read_image

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_TAIL_BYTES = 4096  # some cameras append a little behind the end mark
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def decode_colour(path: Path, reduction: int = 1) -> np.ndarray:
    """uint8 (H, W, 3) RGB; a JPEG may be decoded at a half, quarter or eighth of its size, other files ignore that."""
    data = _read(path)
    if not data.startswith(_JPEG_START):
        return read_image(path)
    _require_end(path, data, _JPEG_END)
    pixels = _imdecode(path, data, _REDUCED[reduction])
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def decode_alpha(path: Path) -> np.ndarray:
    """uint8 or uint16 (H, W), the first channel."""
    data = _read(path)
    if data.startswith(_JPEG_START):
        _require_end(path, data, _JPEG_END)
        return _imdecode(path, data, cv2.IMREAD_GRAYSCALE)
    if data.startswith(_PNG_START):
        _require_end(path, data, _PNG_END)
        pixels = _imdecode(path, data, cv2.IMREAD_UNCHANGED)
        if pixels.ndim == 2:
            return pixels
    return read_alpha(path)


def decode_cutout(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Colour, uint8 (H, W, 3) RGB, and alpha, uint8 or uint16 (H, W), of a picture with straight transparency."""
    data = _read(path)
    if data.startswith(_PNG_START):
        _require_end(path, data, _PNG_END)
    pixels = _imdecode(path, data, cv2.IMREAD_UNCHANGED)
    if pixels.ndim != 3 or pixels.shape[2] != 4:
        raise FileError(f"{path}: has no alpha channel; a cut-out is an RGBA file (or use folders fg/ and alpha/)")
    colour, alpha = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB), np.ascontiguousarray(pixels[..., 3])
    if colour.dtype == np.uint16:
        colour = cv2.convertScaleAbs(colour, alpha=1 / 257)
    return colour, alpha


class DecodedCache:
    """The pictures decoded last, up to a number of bytes. Changes the speed only, never the result."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[tuple, tuple[np.ndarray, ...]] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple, decode: Callable[[], tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
        """What `decode` returned for this key; the arrays are shared and read-only."""
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key]
        arrays = decode()
        for array in arrays:
            array.flags.writeable = False
        self._entries[key] = arrays
        self._bytes += _size(arrays)
        while self._bytes > self.max_bytes and self._entries:
            self._bytes -= _size(self._entries.popitem(last=False)[1])
        return arrays

    def __contains__(self, key: tuple) -> bool:
        return key in self._entries

    def __getstate__(self) -> dict:
        return {"max_bytes": self.max_bytes}  # a worker process starts with an empty cache

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)


def _size(arrays: tuple[np.ndarray, ...]) -> int:
    return sum(array.nbytes for array in arrays)


def _read(path: Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not data:
        raise FileError(f"{path}: is empty (0 bytes)")
    return data


def _require_end(path: Path, data: bytes, mark: bytes) -> None:
    """OpenCV fills what is missing of a cut-off file without a word."""
    if mark not in data[-_TAIL_BYTES:]:
        raise FileError(f"{path}: damaged or incomplete image (the end of the file is missing)")


def _imdecode(path: Path, data: bytes, flags: int) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise FileError(f"{path}: cannot be decoded ({error.err})") from error
    if pixels is None:
        raise FileError(f"{path}: damaged or unknown kind of image")
    return pixels
