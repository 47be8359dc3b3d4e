"""Guarded image decoder: magic numbers, size limits, and `FileError` for failures.

Pillow decodes, because it refuses truncated files where OpenCV returns the part that it got. What has 16 bits per
channel, which Pillow would cut to 8, is decoded by OpenCV or, for TIFF in separate planes, by tifffile.
"""

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import BmpImagePlugin, Image, ImageCms, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from data.files.guard import MAX_PIXELS, FileError, read_bytes, reason

logger = logging.getLogger(__name__)

HEIC_SUFFIXES = (".heic", ".heif")
READS_HEIC = find_spec("pillow_heif") is not None
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff") + HEIC_SUFFIXES * READS_HEIC
MAX_JPEG_WORK = 10 * MAX_PIXELS  # scans times pixels: each scan of a few bytes may cost a pass over the whole picture
ORIENTATION_TAG = 0x0112

_TIFF = {"bits": 258, "photometric": 262, "channels": 277, "planes": 284, "sample format": 339}
_SIGNED, _FLOATING_POINT = 2, 3  # sample formats
_SEPARATE_PLANES, _MIN_IS_WHITE = 2, 0
_GREY_OR_RGB = (0, 1, 2)  # values of the photometric tag that 16-bit files may have
_JPEG_SCAN = b"\xff\xda"
_PNG_END = b"IEND\xaeB`\x82"
_PNG_EXIF_MARKS = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")

# The plug-in classes are called directly: Image.open would try dozens of further formats (EPS runs a
# program), and its own limit on the size is global state with a value below that of a large photograph.
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

# On arrays, since Pillow has no 16-bit RGB; ImageOps.exif_transpose would also write the EXIF block anew, and fail
# where it is damaged.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}


@dataclass(frozen=True)
class Picture:
    """Decoded file.

    Attributes:
        pixels: upright uint8 or uint16, as stored: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA with straight colours;
            may be read-only, since a copy costs as much time as decoding.
        bits: per channel, as stored; less than 8 are expanded to 0..255.
        several: True if the file holds more pictures (animation, pages) than the first, which `pixels` is.
    """

    pixels: np.ndarray
    bits: int
    several: bool = False


class Header(NamedTuple):
    """Opened file whose pixels are not decoded yet."""

    image: Image.Image
    data: bytes
    tags: TiffImagePlugin.ImageFileDirectory_v2 | None  # of a TIFF file

    @property
    def bits(self) -> int:
        """Bits per channel, as stored."""
        if isinstance(self.image, PngImagePlugin.PngImageFile):
            return self.data[24]  # in IHDR, behind signature, length, type, width and height
        if self.tags is not None:
            return max(self.tags.get(_TIFF["bits"], (1,)))
        return 1 if self.image.mode == "1" else 8

    @property
    def several(self) -> bool:
        """True if there is more than one picture."""
        return bool(self.tags.next) if self.tags is not None else getattr(self.image, "n_frames", 1) > 1


def open_header(path: str | Path) -> Header:
    """Read the header of an image; refuse other formats and absurd sizes."""
    data = read_bytes(path)
    reader = _reader(data)
    if reader is None:
        kinds = "JPEG, PNG, WebP, BMP" + (", TIFF or HEIC" if READS_HEIC else " or TIFF")
        hint = ""
        if _is_heic(data):
            hint = "; it is HEIC, which is read once pillow-heif is installed"
        raise FileError(f"{path}: is not a {kinds} file (judged by its content){hint}")
    tags = None
    with _as_file_error(path):
        if reader is TiffImagePlugin.TiffImageFile:
            tags = _tiff_tags(data)
            _check_tiff(path, tags)
        image = reader(io.BytesIO(data))
    width, height = image.size
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise FileError(
            f"{path}: declares {width} x {height} pixels; sizes from 1 x 1 to {MAX_PIXELS // 10**6} megapixels are read"
        )
    if reader is JpegImagePlugin.JpegImageFile and data.count(_JPEG_SCAN) * width * height > MAX_JPEG_WORK:
        scans = data.count(_JPEG_SCAN)
        raise FileError(f"{path}: has {scans} scans of {width} x {height} pixels; save it as an ordinary JPEG")
    return Header(image, data, tags)


def load_image(path: str | Path) -> Image.Image:
    """Decode an image completely, as stored: neither turned upright nor converted."""
    return _load(path, open_header(path))


def decode(path: str | Path, *, alpha: bool = False, indices: bool = False, reduction: int = 1) -> Picture:
    """Decode the first picture of a file.

    Args:
        alpha: keep transparency as a fourth channel where the file has it; else it is dropped.
        indices: palette indices in place of their colours, and grey values of up to 32 bits.
        reduction: 2, 4 or 8: a JPEG is decoded at this fraction of its size (rounded up), which is faster; other kinds
            of file ignore it.
    """
    header = open_header(path)
    with _as_file_error(path):
        bits, several = header.bits, header.several
    deep = bits == 16
    if header.image.mode in ("F", "I") and not deep and not (indices and header.image.mode == "I"):
        raise FileError(f"{path}: has 32 bits per channel; convert it to 8 or 16 first")
    if reduction > 1 and min(header.image.size) >= reduction:
        with _as_file_error(path):
            header.image.draft(None, tuple(side // reduction for side in header.image.size))
    image = _load(path, header)  # also where the pixels come from elsewhere: this notices missing data
    if deep:
        pixels = _decode_deep(path, header)
    else:
        with _as_file_error(path):
            pixels = np.asarray(image if indices and image.mode in ("P", "I") else _as_grey_or_rgb(image, alpha))
    if pixels.ndim == 3 and pixels.shape[2] == 4 and not alpha:
        pixels = pixels[..., :3]
    pixels = _UPRIGHT.get(orientation(path, header), np.asarray)(pixels)
    return Picture(np.ascontiguousarray(pixels), bits, several)


def orientation(path: str | Path, header: Header) -> int:
    """EXIF orientation that is still to be applied, 1 to 8."""
    image = header.image
    if header.tags is not None or not isinstance(image, tuple(reader for _, reader in _READERS)):
        return 1  # TIFF and HEIC decoders turn pictures upright themselves
    if isinstance(image, PngImagePlugin.PngImageFile) and not any(mark in header.data for mark in _PNG_EXIF_MARKS):
        return 1  # getexif would decode the whole file in search of it
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception as error:  # damaged EXIF raises many types, and is no reason to refuse the picture
        logger.warning("%s: damaged EXIF block, orientation taken as upright (%s)", path, reason(error))
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@contextmanager
def _as_file_error(path: str | Path) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file (many types) into a `FileError`."""
    try:
        yield
    except FileError:
        raise
    except Exception as error:
        raise FileError(f"{path}: damaged or incomplete image ({reason(error)})") from error


def _is_heic(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS


def _reader(data: bytes) -> type[Image.Image] | None:
    if _is_heic(data) and READS_HEIC:
        from pillow_heif import HeifImageFile

        return HeifImageFile
    return next((reader for magic, reader in _READERS if data.startswith(magic)), None)


def _tiff_tags(data: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    """Tags of the first picture, for files that Pillow cannot open."""
    file = io.BytesIO(data)
    is_big = b"\x2b" in data[2:4]
    tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(16 if is_big else 8))
    file.seek(tags.next)
    tags.load(file)
    return tags


def _check_tiff(path: str | Path, tags: TiffImagePlugin.ImageFileDirectory_v2) -> None:
    """Refuse sample formats that are no colours.

    Pillow would call some of them damaged, and misread others.
    """
    numbers, bits = tags.get(_TIFF["sample format"], ()), max(tags.get(_TIFF["bits"], (1,)))
    if _FLOATING_POINT in numbers:
        raise FileError(f"{path}: holds floating-point numbers; convert it to 8 or 16 bits per channel first")
    may_be_labels = bits == 32 and tags.get(_TIFF["channels"], 1) == 1
    if _SIGNED in numbers and not may_be_labels:
        raise FileError(f"{path}: holds signed numbers; convert it to unsigned 8 or 16 bits per channel first")
    if bits > 16 and not may_be_labels:
        raise FileError(f"{path}: has {bits} bits per channel; convert it to 8 or 16 first")
    if bits == 16 and tags.get(_TIFF["photometric"]) not in _GREY_OR_RGB:
        raise FileError(f"{path}: 16-bit TIFF files are read as grey or RGB only; convert it first")


def _load(path: str | Path, header: Header) -> Image.Image:
    with _as_file_error(path):
        header.image.load()
    if isinstance(header.image, PngImagePlugin.PngImageFile) and _PNG_END not in header.data:
        raise FileError(f"{path}: damaged or incomplete image (the end of the PNG file is missing)")
    return header.image


def _as_grey_or_rgb(image: Image.Image, alpha: bool) -> Image.Image:
    """Mode L or RGB, or RGBA where alpha is wanted and there."""
    if alpha and (image.mode in _TRANSPARENT or "transparency" in image.info):
        return image.convert("RGBA")
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in ("1", "LA", "La"):
        return image.convert("L")
    profile = image.info.get("icc_profile")
    # A profile for another colour space says nothing about CMYK; some programs leave that of the RGB original.
    if image.mode == "CMYK" and profile and profile[16:20] not in (b"RGB ", b"GRAY"):
        return ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # keeps the palette's colours where they are transparent
    return image.convert("RGB")


def _decode_deep(path: str | Path, header: Header) -> np.ndarray:
    """uint16, (H, W), (H, W, 3) RGB or (H, W, 4) RGBA."""
    tags = header.tags
    if tags is not None and tags.get(_TIFF["planes"]) == _SEPARATE_PLANES and len(header.image.getbands()) > 1:
        return _decode_planes(path, header.data)
    try:
        pixels = cv2.imdecode(np.frombuffer(header.data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise FileError(f"{path}: cannot be decoded ({reason(error)})") from error
    if pixels is None or pixels.dtype != np.uint16:
        raise FileError(f"{path}: this kind of 16-bit file cannot be decoded; convert it to PNG or plain RGB TIFF")
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]  # BGR(A) -> RGB(A)
    elif tags is not None and tags.get(_TIFF["photometric"]) == _MIN_IS_WHITE:
        pixels = ~pixels
    return pixels


def _decode_planes(path: str | Path, data: bytes) -> np.ndarray:
    """Decode a 16-bit TIFF in separate planes, which OpenCV mixes up."""
    import tifffile

    with _as_file_error(path), tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if max(ends) > len(data):  # tifffile fills up what is missing
            raise FileError(f"{path}: damaged or incomplete image (the last bytes are missing)")
        pixels = np.moveaxis(page.asarray(), 0, 2)  # (C, H, W) -> (H, W, C)
        turn = page.tags.get(ORIENTATION_TAG)
    if pixels.dtype != np.uint16 or pixels.shape[2] not in (3, 4):
        raise FileError(f"{path}: this kind of 16-bit file cannot be decoded; convert it to PNG or plain RGB TIFF")
    return _UPRIGHT.get(1 if turn is None else turn.value, np.asarray)(pixels)
