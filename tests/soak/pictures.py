"""Pictures in every kind of file that libraries write, and damages."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageCms

from data.files import READS_HEIC, encode_png

SIDE = (24, 32)  # height, width
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")
OPTIONS: dict[str, tuple[dict, ...]] = {
    "JPEG": (
        {"quality": 30},
        {"progressive": True},
        {"subsampling": 0},
        {"optimize": True},
        {"restart_marker_rows": 1},
    ),
    "PNG": ({}, {"optimize": True}, {"compress_level": 0}),
    "WEBP": ({}, {"lossless": True}, {"quality": 5}),
    "TIFF": tuple(
        {"compression": name}
        for name in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group3", "group4", "tiff_deflate")
    ),
    "BMP": ({},),
}


def scene(rng: np.random.Generator) -> np.ndarray:
    """RGBA uint8 (H, W, 4)."""
    rows, cols = np.mgrid[: SIDE[0], : SIDE[1]]
    alpha = np.clip((10 - np.hypot(rows - 12, cols - 16)) * 40 + 128, 0, 255)
    return np.dstack([rows * 9 % 256, cols * 7 % 256, rng.integers(0, 256, SIDE), alpha]).astype(np.uint8)


def trimap(rng: np.random.Generator) -> np.ndarray:
    """uint8 (H, W)."""
    rows, cols = np.mgrid[: SIDE[0], : SIDE[1]]
    distance = np.hypot(rows - 12, cols - 16) + rng.normal(0, 0.3, SIDE)
    return np.where(distance < 5, 255, np.where(distance > 11, 0, 128)).astype(np.uint8)


def _in_mode(rgba: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(rgba.convert("L")).astype(np.uint16) * 257)
    if mode in ("LAB", "HSV", "YCbCr", "CMYK"):
        if mode == "LAB":
            convert = ImageCms.buildTransform(
                ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", mode
            )
            return ImageCms.applyTransform(rgba.convert("RGB"), convert)
        return rgba.convert("RGB").convert(mode)
    return rgba.convert(mode)


def _by_pillow(rgba: Image.Image) -> dict[str, bytes]:
    Image.init()
    files = {}
    for kind in sorted(Image.SAVE):
        for mode in MODES:
            for number, options in enumerate(OPTIONS.get(kind, ({},))):
                buffer = io.BytesIO()
                try:
                    _in_mode(rgba, mode).save(buffer, kind, **options)
                except Exception:  # most formats have few modes
                    continue
                files[f"{kind} {mode} {number}"] = buffer.getvalue()
    return files


def _with_metadata(rgba: Image.Image) -> dict[str, bytes]:
    """Orientation, colour profiles, several pages, interlacing."""
    files, rgb = {}, rgba.convert("RGB")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            buffer = io.BytesIO()
            rgb.save(buffer, kind, exif=exif, icc_profile=profile)
            files[f"{kind} orientation {orientation}"] = buffer.getvalue()
    buffer = io.BytesIO()
    rgb.convert("CMYK").save(buffer, "JPEG", icc_profile=profile)
    files["JPEG CMYK with a profile"] = buffer.getvalue()
    for kind in ("PNG", "WEBP", "TIFF", "GIF"):
        buffer = io.BytesIO()
        rgb.save(buffer, kind, save_all=True, append_images=[rgb.rotate(90), rgb])
        files[f"{kind} of three pages"] = buffer.getvalue()
    return files


def _scaled(pixels: np.ndarray, dtype: str | type) -> np.ndarray:
    """8-bit values in another type; in 16 bits they span all levels."""
    return pixels.astype(dtype) * np.array(257 if np.dtype(dtype) == np.uint16 else 1, dtype)


def _deep(rgba: np.ndarray) -> dict[str, bytes]:
    """Files by OpenCV and tifffile: 16 and 32 bits, floats, planes, tiles."""
    files, rgb = {}, rgba[..., :3]
    for dtype in (np.uint8, np.uint16):
        for name, pixels in (("grey", rgb[..., 0]), ("rgb", rgb), ("rgba", rgba)):
            files[f"png {name} {dtype.__name__}"] = encode_png(_scaled(pixels, dtype))
    for dtype in ("u1", "u2", "u4", "i1", "i2", "f2", "f4", "f8"):
        for compression in (None, "zlib", "lzw", "packbits"):
            for layout in ({}, {"planarconfig": "separate"}, {"tile": (16, 16)}, {"bigtiff": True}, {"byteorder": ">"}):
                bigtiff = {key: layout[key] for key in ("bigtiff", "byteorder") if key in layout}
                rest = {key: value for key, value in layout.items() if key not in bigtiff}
                pixels, buffer = _scaled(rgb, dtype), io.BytesIO()
                if "planarconfig" in layout:
                    pixels = np.moveaxis(pixels, 2, 0)
                try:
                    tifffile.imwrite(buffer, pixels, photometric="rgb", compression=compression, **rest, **bigtiff)
                except Exception:  # codecs of an optional package
                    continue
                files[f"tiff {dtype} {compression} {layout}"] = buffer.getvalue()
    for dtype in (np.uint8, np.uint16):
        buffer, grey = io.BytesIO(), _scaled(rgb[..., 1], dtype)
        tifffile.imwrite(buffer, ~grey, photometric="miniswhite")
        files[f"tiff min-is-white {dtype.__name__}"] = buffer.getvalue()
    return files


def _heic(picture: Image.Image) -> dict[str, bytes]:
    """HEIC photographs, where they can be written."""
    if not READS_HEIC:
        return {}
    import pillow_heif

    files = {}
    for mode in ("L", "RGB", "RGBA"):
        buffer = io.BytesIO()
        pillow_heif.from_pillow(picture.convert(mode)).save(buffer, quality=90)
        files[f"HEIC {mode}"] = buffer.getvalue()
    return files


@cache
def all_images() -> dict[str, bytes]:
    """Photograph in hundreds of kinds of file, by kind."""
    rgba = scene(np.random.default_rng(0))
    picture = Image.fromarray(rgba)
    return _by_pillow(picture) | _with_metadata(picture) | _deep(rgba) | _heic(picture)


@cache
def all_trimaps() -> dict[str, bytes]:
    """A trimap in the kinds of file that are common for trimaps."""
    values = trimap(np.random.default_rng(1))
    grey = Image.fromarray(values)
    files = {}
    for kind, modes in (
        ("PNG", ("L", "P", "RGB", "RGBA", "I;16")),
        ("JPEG", ("L",)),
        ("TIFF", ("L",)),
        ("BMP", ("L",)),
    ):
        for mode in modes:
            buffer = io.BytesIO()
            _in_mode(grey, mode).save(buffer, kind)
            files[f"{kind} {mode}"] = buffer.getvalue()
    return files


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, colour: int, data: bytes, *before: bytes) -> bytes:
    """A PNG file whose header says what it likes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg_of_many_scans(scans: int, side: int) -> bytes:
    """Progressive JPEG that repeats its last scan.

    Each costs a pass over the whole picture, and a few bytes.
    """
    buffer = io.BytesIO()
    Image.new("L", (side, side), 128).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def bombs() -> dict[str, bytes]:
    """Small files that declare or hold far more than they look like."""
    rgb, zeros = cv2.imencode(".bmp", np.zeros((4, 4, 3), np.uint8))[1].tobytes(), zlib.compress(bytes(10**8), 9)
    text = chunk(b"zTXt", b"a\0\0" + zeros)
    files = {
        "png declares 4 billion pixels": png(65_535, 65_535, 8, 2, b"x"),
        "png declares 2^31 x 2^31": png(2**31 - 1, 2**31 - 1, 16, 6, b"x"),
        "png declares 0 x 0": png(0, 0, 8, 2, b""),
        "png declares 400 megapixels, holds none": png(20_000, 20_000, 8, 2, zlib.compress(b"")),
        "png of 400 megapixels of 16 bits, holds few": png(20_000, 20_000, 16, 6, zlib.compress(bytes(10**6))),
        "png with a text of 100 MB": png(4, 4, 8, 0, zlib.compress(bytes(20)), text),
        "png with 100 such texts": png(4, 4, 8, 0, zlib.compress(bytes(20)), *[text] * 100),
        "png with a profile of 100 MB": png(4, 4, 8, 0, zlib.compress(bytes(20)), chunk(b"iCCP", b"a\0\0" + zeros)),
        "png with more data than pixels": png(4, 4, 8, 0, zeros),
        "jpeg of 20,000 scans": jpeg_of_many_scans(20_000, 2000),
    }
    for size in ((2**31 - 1, 1), (20_000, 20_000), (-20_000, 20_000), (0, 0), (2**30, 2**30)):
        files[f"bmp declares {size}"] = rgb[:18] + struct.pack("<ii", *size) + rgb[26:]
    for name, wide in (("strip", 0x0117), ("width", 0x0100), ("height", 0x0101), ("rows", 0x0116), ("bits", 0x0102)):
        files[f"tiff with a {name} of 2^32"] = _tiff_with(wide, 2**32 - 1)
        files[f"tiff with a {name} of 20000"] = _tiff_with(wide, 20_000)
    return files


def _tiff_with(tag: int, value: int) -> bytes:
    """A TIFF file with one entry of its directory overwritten."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "TIFF", compression="tiff_lzw")
    data = bytearray(buffer.getvalue())
    start = struct.unpack_from("<I", data, 4)[0]
    for entry in range(struct.unpack_from("<H", data, start)[0]):
        place = start + 2 + 12 * entry
        if struct.unpack_from("<H", data, place)[0] == tag:
            struct.pack_into("<HII", data, place + 2, 4, 1, value)
    return bytes(data)


def _flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _flip_head(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(min(len(data), 200))] = chance.randrange(256)


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def _drop(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    del data[start : start + chance.randint(1, 40)]


def _repeat(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    data[start:start] = data[start : start + chance.randint(1, 200)] * chance.choice((1, 1, 50))


def _insert(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    data[start:start] = chance.randbytes(chance.randint(1, 64))


def _extreme(data: bytearray, chance: random.Random) -> None:
    """Replace a number of 16 or 32 bits by one that overflows."""
    values = (0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 20_000)
    for _ in range(chance.randint(1, 3)):
        value, form = chance.choice(values), chance.choice(("<H", ">H", "<I", ">I"))
        size = struct.calcsize(form)
        if len(data) > size:
            place = chance.randrange(min(len(data) - size, chance.choice((64, 400, 10**6))) or 1)
            struct.pack_into(form, data, place, value & (256**size - 1))


def _zeros(data: bytearray, chance: random.Random) -> None:
    start, length = chance.randrange(len(data)), chance.randint(1, 500)
    data[start : start + length] = bytes(len(data[start : start + length]))


def _nothing(data: bytearray, chance: random.Random) -> None:
    data.clear()


def _noise(data: bytearray, chance: random.Random) -> None:
    data[12:] = chance.randbytes(len(data))


def _whole(data: bytearray, chance: random.Random) -> None:
    """Left as it is, perhaps with something behind its end."""
    data += chance.choice((b"", b"", chance.randbytes(40)))


DAMAGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip,
    _flip,
    _flip_head,
    _flip_head,
    _cut,
    _drop,
    _repeat,
    _insert,
    _extreme,
    _extreme,
    _zeros,
    _nothing,
    _noise,
    _whole,
)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content after one or two kinds of damage."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2))):
        if data:
            chance.choice(DAMAGES)(data, chance)
    return bytes(data)
