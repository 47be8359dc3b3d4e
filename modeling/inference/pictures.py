"""Conversion of callers' images, trimaps and masks: arrays, tensors, pictures, paths."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")  # that paths are read as, whatever else Pillow knows
_BACKGROUND_UP_TO, _FOREGROUND_FROM = 25, 230  # trimap values of files, up to / from which a side is certain
_ACCEPTED = "an array, a tensor, a Pillow picture or a path"


def image_array(source: Any) -> np.ndarray:
    """An image as (H, W, 3) uint8 RGB.

    Args:
        source: (H, W, 3) uint8 array as it is; a picture or the path of one, upright, its alpha dropped.

    Raises:
        ValueError: it is something else; the message says what to do.
    """
    if isinstance(source, np.ndarray):
        return source
    return np.array(_rgb(_picture(source, "image")))


def trimap_array(source: Any) -> np.ndarray:
    """Trimap as uint8 (H, W); values of files are snapped."""
    if isinstance(source, Tensor):
        source = source.cpu().numpy()
    if isinstance(source, np.ndarray):
        return source
    values = np.array(_grey(_picture(source, "trimap")))
    trimap = np.full_like(values, 128)
    trimap[values <= _BACKGROUND_UP_TO] = 0
    trimap[values >= _FOREGROUND_FROM] = 255
    return trimap


def mask_tensor(source: Any) -> Tensor:
    """A mask as (H, W) uint8, foreground from 128 on.

    Args:
        source: bool, uint8 or float in [0, 1], (H, W) array or tensor; of pictures the alpha channel if they have one,
            else the grey values.
    """
    if isinstance(source, np.ndarray | Tensor):
        values = torch.as_tensor(source)
        if values.dim() == 3 and 1 in (values.shape[0], values.shape[-1]):
            values = values.squeeze(0 if values.shape[0] == 1 else -1)
        if values.dim() != 2 or values.dtype not in (torch.bool, torch.uint8, *_FLOATS):
            raise ValueError(
                f"mask must be (H, W), bool, uint8 or float in [0, 1]; got {tuple(source.shape)} {source.dtype}"
            )
        return values if values.dtype == torch.uint8 else _levels(values.float(), "mask")
    picture = _picture(source, "mask")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        return torch.from_numpy(np.array(picture.convert("RGBA"))[..., 3].copy())
    return torch.from_numpy(np.array(_grey(picture)))


def batch(image: Tensor, trimap: Tensor) -> tuple[Tensor, Tensor]:
    """Tensors of one image or several of one size, as (B, 3, H, W) and (B, 1, H, W) uint8.

    Args:
        image: (3, H, W) or (B, 3, H, W) RGB, uint8 or float in [0, 1], which is rounded to 8 bits.
        trimap: (H, W), (1, H, W), (B, H, W) or (B, 1, H, W), uint8 of 0, 128, 255 or float of 0, 0.5, 1.
    """
    images = image if image.dim() == 4 else image[None]
    if images.dim() != 4 or images.shape[1] != 3 or images.dtype not in (torch.uint8, *_FLOATS):
        raise ValueError(
            f"image must be (3, H, W) or (B, 3, H, W), uint8 or float in [0, 1]; got {tuple(image.shape)} {image.dtype}"
        )
    height, width = images.shape[2:]
    if trimap.dtype not in (torch.uint8, *_FLOATS):
        raise ValueError(f"trimap must be uint8 of 0, 128, 255 or float of 0, 0.5, 1; got {trimap.dtype}")
    if trimap.shape[-2:] != (height, width) or trimap.numel() != len(images) * height * width:
        raise ValueError(
            f"trimap is {tuple(trimap.shape)} but image is {tuple(image.shape)}; give one trimap of its size per image"
        )
    trimaps = trimap.reshape(len(images), 1, height, width)
    images = images if images.dtype == torch.uint8 else _levels(images, "image")
    return images, trimaps if trimaps.dtype == torch.uint8 else _levels(trimaps, "trimap")


_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def _levels(values: Tensor, what: str) -> Tensor:
    """[0, 1] to uint8, rounded."""
    low, high = (float(value) for value in values.aminmax()) if values.numel() else (0.0, 0.0)
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{what} of floats must be in [0, 1], got {low:.4g} to {high:.4g}; divide it by its largest level"
        )
    return (255 * values.float()).round_().to(torch.uint8)


def _picture(source: Any, what: str) -> Any:
    """A Pillow picture, upright."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ValueError(f"{what}: pictures and paths need Pillow (pip install pillow); or pass an array") from error
    if not isinstance(source, str | Path | Image.Image):
        kind = type(source).__name__
        raise ValueError(f"{what} must be {_ACCEPTED}, or a list of them, not {kind}")
    try:
        if isinstance(source, Image.Image):
            return ImageOps.exif_transpose(source)
        if not Path(source).is_file():
            raise ValueError("there is no such file")
        with Image.open(source, formats=FORMATS) as opened:
            return ImageOps.exif_transpose(opened)
    except Exception as error:  # damaged pictures raise many types
        name = source if isinstance(source, str | Path) else "picture"
        raise ValueError(f"{what} {name}: cannot be read ({' '.join(str(error).split())[:200]})") from error


def _rgb(picture: Any) -> Any:
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _grey(picture)
    if picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA")  # keeps the palette's colours where they are transparent
    return picture.convert("RGB")


def _grey(picture: Any) -> Any:
    """8-bit grey: the first channel of colours, 16 bits rounded to 8."""
    from PIL import Image

    if picture.mode == "F":
        raise ValueError("pictures of floats are not read: convert it to an array in [0, 1] or to 8 bits")
    if picture.mode.startswith("I"):
        return Image.fromarray(((np.asarray(picture).astype(np.int64) + 128) // 257).clip(0, 255).astype(np.uint8))
    if picture.mode in ("1", "L", "LA"):
        return picture.convert("L")
    return picture.convert("RGB").getchannel(0)
