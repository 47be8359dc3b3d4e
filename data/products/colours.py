"""Colour files with profile: 8-bit and 16-bit PNG and TIFF, EXR.

Alpha is straight unless asked otherwise; EXR holds linear light, as its readers expect.
"""

import io
import tempfile
import zlib
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import OpenEXR
import tifffile

from data.files import Metadata, encode_png, quantise, write_atomic
from data.files.tags import KEY, PNG_HEADER_BYTES, png_chunk, png_with_record, tiff_description

Depth = Literal["8", "16", "half", "float"]
DEPTHS: dict[str, tuple[Depth, ...]] = {
    ".png": ("8", "16"),
    ".tif": ("8", "16"),
    ".tiff": ("8", "16"),
    ".exr": ("half", "float"),
}


def check_depth(suffix: str, depth: str) -> None:
    """Refuse other kinds of file, and depths that they lack."""
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
    record: str = "",
) -> None:
    """Write RGB or RGBA atomically, in the format of the suffix.

    Args:
        colours: (H, W, 3) float32 in [0, 1], straight, encoded as the photograph was.
        alpha: (H, W) float32 in [0, 1].
        depth: "8" or "16" for PNG and TIFF, "half" or "float" for EXR.
        premultiplied: multiply the colours (in EXR: the linear ones) by alpha.
        record: text to store in the file, as `data.records` reads it.
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
        data = _exr(pixels, depth, premultiplied, record)
    elif path.suffix.lower() == ".png":
        data = png_with_record(_png(quantise(pixels, int(depth)), metadata), record)
    else:
        data = _tiff(quantise(pixels, int(depth)), metadata, premultiplied, record)
    write_atomic(path, data)


def extend_colours(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Continue colours smoothly where alpha is 0.

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


def srgb_to_linear(encoded: np.ndarray) -> np.ndarray:
    """Values of sRGB's curve in [0, 1] -> linear light, float32."""
    encoded = encoded.astype(np.float32)
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _exr(pixels: np.ndarray, depth: Depth, premultiplied: bool, record: str) -> bytes:
    pixels = np.ascontiguousarray(pixels.astype(np.float16 if depth == "half" else np.float32))
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    header["comments"] = f"linear sRGB, {'premultiplied' if premultiplied else 'straight (not premultiplied)'} alpha"
    header |= {KEY: record} if record else {}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "image.exr")
        with OpenEXR.File(header, {"RGBA" if pixels.shape[2] == 4 else "RGB": pixels}) as file:
            file.write(str(target))
        return target.read_bytes()


def _png(pixels: np.ndarray, metadata: Metadata) -> bytes:
    data, extra = encode_png(pixels), b""
    if metadata.icc:
        extra += png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(metadata.icc))
    if metadata.exif:
        extra += png_chunk(b"eXIf", metadata.exif)
    return data[:PNG_HEADER_BYTES] + extra + data[PNG_HEADER_BYTES:]


def _tiff(pixels: np.ndarray, metadata: Metadata, premultiplied: bool, record: str) -> bytes:
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
        description=tiff_description(record),
    )
    return target.getvalue()
