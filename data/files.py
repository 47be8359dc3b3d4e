"""Reading images, alphas and trimaps, and writing alphas: colour, depth, orientation and completeness in one place.

Pillow decodes, because it refuses what is cut off where OpenCV returns the part that it got; OpenCV decodes what has
16 bits a channel, which Pillow would cut to 8, and encodes PNG. Colour is straight RGB: an alpha channel is dropped.
"""

import fcntl
import io
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import BmpImagePlugin, Image, ImageCms, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 500_000_000  # a header that declares more is taken for damage or an attack
MAX_BYTES = 8 * MAX_PIXELS  # four channels of 16 bits, as they are
MAX_JPEG_WORK = 10 * MAX_PIXELS  # scans times pixels: each scan of a few bytes may cost a pass over the whole picture
BACKGROUND_UP_TO, FOREGROUND_FROM = 25, 230  # trimap values up to / from here are background / foreground
UNKNOWN = 128
COLOURED_FROM = 64  # how far apart the channels of a trimap's pixel are where it is no grey but a colour

_ORIENTATION_TAG, _BITS_TAG = 0x0112, 258
_JPEG_SCAN = b"\xff\xda"
_PNG_END = b"IEND\xaeB`\x82"
_PNG_EXIF_MARKS = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")
_ROWS = 512  # rows quantised at a time, so that no second full-size float buffer exists

# The plug-in classes are called directly: Image.open would try dozens of formats that nobody asked for, and its own
# limit on the size is global state with a value below that of a large photograph.
_READERS: tuple[tuple[bytes, type[Image.Image]], ...] = (
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"II\x2a\x00", TiffImagePlugin.TiffImageFile),
    (b"MM\x00\x2a", TiffImagePlugin.TiffImageFile),
    (b"II\x2b\x00", TiffImagePlugin.TiffImageFile),
    (b"MM\x00\x2b", TiffImagePlugin.TiffImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
)

_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}


class FileError(ValueError):
    """A file or folder that cannot be used; the message names it and says why."""


def read_image(path: str | Path) -> np.ndarray:
    """Read a photograph as uint8 (H, W, 3) RGB, upright. 16-bit files are rounded to 8, an alpha channel is dropped."""
    return _to_uint8(read_colours(path))


def read_colours(path: str | Path) -> np.ndarray:
    """Read a photograph as (H, W, 3) RGB, upright, uint8 or uint16 as stored; an alpha channel is dropped."""
    pixels = _decode(Path(path))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels)


def read_alpha(path: str | Path) -> np.ndarray:
    """Read the first channel of an alpha file as (H, W), uint8 or uint16 as stored."""
    pixels = _decode(Path(path))
    return np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[..., 0])


def read_trimap(path: str | Path) -> np.ndarray:
    """Read a trimap as uint8 (H, W) of 0, 128, 255; other values are snapped with a warning, colours mean unknown."""
    pixels = _to_uint8(_decode(Path(path)))
    raw = np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[..., 0])
    trimap = snap_trimap(raw)
    if pixels.ndim == 3:  # an overlay: what is marked in colour is what is in doubt
        trimap[np.ptp(pixels, axis=2) >= COLOURED_FROM] = UNKNOWN
    changed = int(np.count_nonzero(trimap != raw))
    if changed:
        logger.warning(
            "%s: trimap has values other than 0, 128, 255; snapped %d of %d pixels (up to %d: background, from %d: "
            "foreground, else unknown)", path, changed, raw.size, BACKGROUND_UP_TO, FOREGROUND_FROM,
        )  # fmt: skip
    return trimap


def snap_trimap(values: np.ndarray) -> np.ndarray:
    """uint8 (H, W) of any values -> uint8 (H, W) of 0, 128, 255."""
    table = np.full(256, UNKNOWN, np.uint8)
    table[: BACKGROUND_UP_TO + 1] = 0
    table[FOREGROUND_FROM:] = 255
    return cv2.LUT(values, table)


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the upright image, from the header alone."""
    path = Path(path)
    data = _read_bytes(path)
    image = _open(path, data)
    width, height = image.size
    return (width, height) if _orientation(path, image, data) >= 5 else (height, width)


def is_complete(path: str | Path, size: tuple[int, int], bit_depth: int) -> bool:
    """True if path is a whole PNG alpha of this (height, width) and depth: what a resumed run need not do again."""
    try:
        alpha = read_alpha(path)
    except FileError:
        return False
    return alpha.shape == tuple(size) and alpha.itemsize * 8 == bit_depth


def real_path(path: str | Path) -> str:
    """Absolute path with links resolved; a loop of links ends at the link that closes it."""
    return os.path.realpath(path)


def check_outputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path] = ()) -> None:
    """Refuse outputs that would overwrite an input or one another. Call it before work begins.

    Args:
        outputs: files that will be written.
        inputs: files that will be read; those in a folder are listed one by one.

    Raises:
        FileError: names the first output that cannot stay.
    """
    taken = {real_path(path): "an input" for path in inputs}
    for path in outputs:
        place = real_path(path)
        if place in taken:
            raise FileError(f"{path}: the output would overwrite {taken[place]}; choose another place for it")
        taken[place] = "another output"


def write_alpha(path: str | Path, alpha: np.ndarray, bit_depth: int = 8) -> None:
    """Write float (H, W) in [0, 1] as an 8- or 16-bit grey PNG, rounded to the nearest level, atomically."""
    path = Path(path)
    if bit_depth not in (8, 16):
        raise ValueError(f"bit depth is {bit_depth}; PNG alphas have 8 or 16 bits")
    if path.suffix.lower() != ".png":
        raise FileError(f"{path}: alphas are written as PNG; give the output a name that ends in .png")
    ok, encoded = cv2.imencode(".png", _quantise(path, alpha, bit_depth))
    if not ok:
        raise FileError(f"{path}: an alpha of shape {alpha.shape} cannot be encoded as PNG")
    write_atomic(path, encoded.tobytes())


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write a file so that at any moment, power loss included, path holds all of data or what it held before."""
    path = Path(path)
    try:
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """An open file beside path that takes its place once it is written, whole and on the disk; or never.

    Whoever writes it by its name has to have closed it by then.
    """
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
    """Remove the temporary files of writers that were killed; those of living ones, which hold a lock, stay."""
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
    """A new, locked file."""
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


def _quantise(path: Path, alpha: np.ndarray, bit_depth: int) -> np.ndarray:
    if alpha.ndim != 2 or alpha.size == 0:
        raise ValueError(f"{path}: an alpha has two dimensions (H, W) and at least one pixel, not shape {alpha.shape}")
    levels = np.float64(2**bit_depth - 1)  # float32 would add to the error of 16 bits
    quantised = np.empty(alpha.shape, np.uint8 if bit_depth == 8 else np.uint16)
    for start in range(0, alpha.shape[0], _ROWS):
        rows = alpha[start : start + _ROWS]
        if not np.isfinite(rows).all():
            raise ValueError(f"{path}: the alpha holds values that are not finite; nothing was written")
        quantised[start : start + _ROWS] = np.rint(np.clip(rows, 0, 1) * levels)
    return quantised


def check_size(path: Path) -> None:
    """Refuse what is no file, where reading would block for ever, and what does not fit into memory."""
    try:
        if path.exists() and not path.is_file():
            raise FileError(f"{path}: is a folder or a device, not a file")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise FileError(f"{path}: has {size / 10**9:.1f} GB; files of up to {MAX_BYTES // 10**9} GB are read")
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_bytes(path: Path) -> bytes:
    check_size(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not data:
        raise FileError(f"{path}: is empty (0 bytes)")
    return data


def _open(path: Path, data: bytes) -> Image.Image:
    """Read the header."""
    reader = next((reader for magic, reader in _READERS if data.startswith(magic)), None)
    if reader is None:
        raise FileError(f"{path}: is not a JPEG, PNG, WebP, BMP or TIFF file (judged by its content)")
    image = _strictly(path, lambda: reader(io.BytesIO(data)))
    width, height = image.size
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise FileError(
            f"{path}: declares {width} x {height} pixels; sizes from 1 x 1 to {MAX_PIXELS // 10**6} megapixels are read"
        )
    if reader is JpegImagePlugin.JpegImageFile and data.count(_JPEG_SCAN) * width * height > MAX_JPEG_WORK:
        scans = data.count(_JPEG_SCAN)
        raise FileError(f"{path}: has {scans} scans of {width} x {height} pixels; save it as an ordinary JPEG")
    return image


def _decode(path: Path) -> np.ndarray:
    """uint8 or uint16, (H, W) or (H, W, 3) RGB, upright, complete."""
    data = _read_bytes(path)
    image = _open(path, data)
    deep = _strictly(path, lambda: _bits(image, data)) == 16
    if image.mode in ("F", "I") and not deep:
        raise FileError(f"{path}: has 32 bits a channel; convert it to 8 or 16 first")
    _strictly(path, image.load)  # also where OpenCV decodes below: this is what notices missing data
    if isinstance(image, PngImagePlugin.PngImageFile) and _PNG_END not in data:
        raise FileError(f"{path}: damaged or incomplete image (the end of the PNG file is missing)")
    pixels = _decode_deep(path, data) if deep else _strictly(path, lambda: np.array(_to_grey_or_rgb(image)))
    return _UPRIGHT.get(_orientation(path, image, data), np.asarray)(pixels)


def _to_grey_or_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in ("1", "LA", "La"):
        return image.convert("L")
    if image.mode == "CMYK" and (profile := image.info.get("icc_profile")):
        return ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # keeps the palette's colours where they are transparent
    return image.convert("RGB")


def _decode_deep(path: Path, data: bytes) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise FileError(f"{path}: cannot be decoded ({error.err})") from error
    if pixels is None or pixels.dtype != np.uint16:
        raise FileError(f"{path}: this kind of 16-bit file cannot be decoded; convert it to PNG or plain RGB TIFF")
    if pixels.ndim == 3:
        pixels = pixels[..., 2::-1]  # BGR(A) -> RGB
    return pixels


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits a channel, as stored."""
    if isinstance(image, PngImagePlugin.PngImageFile):
        return data[24]  # in IHDR, behind signature, length, type, width and height
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(_BITS_TAG, (8,)))
    return 8


def _orientation(path: Path, image: Image.Image, data: bytes) -> int:
    """EXIF orientation that is still to be applied, 1 to 8."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return 1  # Pillow and OpenCV both turn TIFF upright by themselves
    if isinstance(image, PngImagePlugin.PngImageFile) and not any(mark in data for mark in _PNG_EXIF_MARKS):
        return 1  # getexif would decode the whole file in search of it
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception as error:  # damaged EXIF raises many types, and is no reason to refuse the picture
        logger.warning("%s: damaged EXIF block, orientation taken as upright (%s)", path, error)
        return 1


def _strictly(path: Path, decode: Callable):
    """Run a step of Pillow's; whatever a damaged file makes it raise (many types) becomes one FileError."""
    try:
        return decode()
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FileError(f"{path}: damaged or incomplete image ({reason})") from error


def _to_uint8(pixels: np.ndarray) -> np.ndarray:
    """uint16 is rounded: 65535 = 255 * 257."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
