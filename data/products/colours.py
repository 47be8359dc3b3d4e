"""Colour files at the depth of a pipeline: PNG and TIFF with 8 or 16 bits, EXR in half or float, with the photograph's
colour profile. Alpha is straight unless asked otherwise; EXR holds linear light, as its readers expect."""

import io
import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import OpenEXR
import tifffile
from PIL import Image

from data.files import FileError, write_atomic

Depth = Literal["8", "16", "half", "float"]
DEPTHS: dict[str, tuple[Depth, ...]] = {
    ".png": ("8", "16"), ".tif": ("8", "16"), ".tiff": ("8", "16"), ".exr": ("half", "float"),
}  # fmt: skip
_ORIENTATION_TAG = 0x0112
_PNG_HEADER_BYTES = 8 + 25  # signature and IHDR: what follows may be anything


@dataclass(frozen=True)
class Metadata:
    """What a cut-out takes over from its photograph: the RGB colour profile, and EXIF that says "upright"."""

    icc: bytes | None = None
    exif: bytes | None = None


def read_metadata(path: str | Path) -> Metadata:
    """Profile and EXIF of an image that was read upright. A profile for grey or CMYK does not fit RGB: none then."""
    try:
        with Image.open(path) as image:
            icc, exif = image.info.get("icc_profile"), image.getexif()
            if exif:
                exif[_ORIENTATION_TAG] = 1
            block = exif.tobytes().removeprefix(b"Exif\0\0") if exif else None
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise FileError(f"{path}: its metadata cannot be read ({' '.join(str(error).split())})") from error
    return Metadata(icc if icc and icc[16:20] == b"RGB " else None, block)


def check_depth(suffix: str, depth: str) -> None:
    """Refuse a kind of file, or a depth that it does not have."""
    if suffix.lower() not in DEPTHS:
        raise ValueError(f"colours are written as {', '.join(DEPTHS)}, not {suffix or 'a file without suffix'}")
    if depth not in DEPTHS[suffix.lower()]:
        raise ValueError(f"{suffix} files have depth {' or '.join(DEPTHS[suffix.lower()])}, not {depth}")


def write_colours(
    path: str | Path,
    colours: np.ndarray,
    alpha: np.ndarray | None = None,
    *,
    depth: Depth = "8",
    premultiplied: bool = False,
    metadata: Metadata | None = None,
) -> None:
    """Write RGB, or RGBA with an alpha, atomically; the suffix says which kind of file.

    Args:
        colours: (H, W, 3) float32 in [0, 1], straight, encoded as the photograph was.
        alpha: (H, W) float32 in [0, 1].
        depth: "8" or "16" for PNG and TIFF, "half" or "float" for EXR.
        premultiplied: multiply the colours (in EXR: the linear ones) by alpha.
    """
    path = Path(path)
    check_depth(path.suffix, depth)
    if colours.ndim != 3 or colours.shape[2] != 3 or (alpha is not None and alpha.shape != colours.shape[:2]):
        raise ValueError(f"{path}: colours are {colours.shape}, alpha {None if alpha is None else alpha.shape}")
    metadata, exr = metadata or Metadata(), path.suffix.lower() == ".exr"
    layers = [srgb_to_linear(colours) if exr else colours]
    if alpha is not None:
        layers = [layers[0] * alpha[..., None]] if premultiplied else layers
        layers.append(alpha[..., None])
    pixels = np.concatenate(layers, axis=2) if len(layers) > 1 else layers[0]
    if exr:
        data = _exr(pixels, depth, premultiplied)
    else:
        quantised = quantise(pixels, int(depth))
        data = _png(quantised, metadata) if path.suffix.lower() == ".png" else _tiff(quantised, metadata, premultiplied)
    write_atomic(path, data)


def extend_colours(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Replace colours where alpha is 0 by a smooth continuation of the others.

    Nothing of the old background stays hidden in a cut-out, and no halo appears where it is resampled.

    Args:
        colours: (H, W, 3) float32.
        alpha: (H, W) float32.
    """
    weights = (alpha > 0).astype(np.float32)
    if not weights.any() or weights.all():
        return colours
    levels = [(colours * weights[..., None], weights)]
    while max(levels[-1][1].shape) > 1:
        size = tuple((side + 1) // 2 for side in levels[-1][1].shape[::-1])
        levels.append(tuple(cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in levels[-1]))
    filled = None
    for sums, shares in reversed(levels):
        known = sums / np.maximum(shares, 1e-6)[..., None]
        if filled is not None:
            wider = cv2.resize(filled, shares.shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(known.shape)
            known = np.where(shares[..., None] > 0, known, wider)
        filled = known
    return np.where(alpha[..., None] > 0, colours, filled)


def quantise(values: np.ndarray, bits: int) -> np.ndarray:
    """float in [0, 1] -> uint8 or uint16, rounded."""
    return np.rint(np.clip(values, 0, 1) * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


def srgb_to_linear(encoded: np.ndarray) -> np.ndarray:
    """Values of sRGB's curve in [0, 1] -> linear light, float32."""
    encoded = encoded.astype(np.float32)
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """The inverse of `srgb_to_linear`."""
    linear = linear.astype(np.float32)
    root = np.maximum(linear, 0) ** (1 / 2.4)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * root - 0.055).astype(np.float32)


def read_exr(path: str | Path) -> np.ndarray:
    """Read RGB or RGBA of an EXR file as stored: (H, W, 3 or 4), float16 or float32, linear."""
    try:
        with OpenEXR.File(str(path)) as file:
            channels = file.channels()
            for name in ("RGBA", "RGB"):
                if name in channels:
                    return channels[name].pixels.copy()
    except (OSError, RuntimeError, ValueError) as error:
        raise FileError(f"{path}: cannot be read as EXR ({' '.join(str(error).split())})") from error
    raise FileError(f"{path}: holds {', '.join(channels)}; RGB or RGBA is read")


def _exr(pixels: np.ndarray, depth: Depth, premultiplied: bool) -> bytes:
    pixels = np.ascontiguousarray(pixels.astype(np.float16 if depth == "half" else np.float32))
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    header["comments"] = f"linear sRGB, {'premultiplied' if premultiplied else 'straight (not premultiplied)'} alpha"
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "image.exr")
        with OpenEXR.File(header, {"RGBA" if pixels.shape[2] == 4 else "RGB": pixels}) as file:
            file.write(str(target))
        return target.read_bytes()


def _png(pixels: np.ndarray, metadata: Metadata) -> bytes:
    order = [2, 1, 0, 3][: pixels.shape[2]]
    data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., order]))[1].tobytes()
    extra = b""
    if metadata.icc:
        extra += _chunk(b"iCCP", b"profile\0\0" + zlib.compress(metadata.icc))
    if metadata.exif:
        extra += _chunk(b"eXIf", metadata.exif)
    return data[:_PNG_HEADER_BYTES] + extra + data[_PNG_HEADER_BYTES:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _tiff(pixels: np.ndarray, metadata: Metadata, premultiplied: bool) -> bytes:
    target = io.BytesIO()
    extra = (("assocalpha" if premultiplied else "unassalpha"),) if pixels.shape[2] == 4 else ()
    tifffile.imwrite(
        target,
        pixels,
        photometric="rgb",
        extrasamples=extra,
        iccprofile=metadata.icc,
        compression="zlib",
        metadata=None,
    )
    return target.getvalue()
