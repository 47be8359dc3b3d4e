"""Trimaps from masks, alphas and cut-outs, by distances instead of fixed kernels."""

import logging
import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from data.files import FileError, decode, first_picture, to_uint8
from data.trimap import BACKGROUND, FOREGROUND, UNKNOWN

logger = logging.getLogger(__name__)

MaskKind = Literal["auto", "mask", "alpha", "instances"]
CORE_SHARE = 0.5  # a small object or hole keeps what is deeper than this share of its greatest depth
MAX_DISTORTION = 0.02  # difference in aspect ratio up to which a mask of another size is resized
HALF = 128  # of a grey mask: brighter is inside
MIN_CORE_DEPTH_PX = 2.0  # thinner ones are left to the network altogether: a mask is not that exact


@dataclass(frozen=True)
class Width:
    """Width of the unknown band: pixels, or a share of the object.

    The object's size is the root of its area.
    """

    value: float
    relative: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.value < (1 if self.relative else 10_000):
            raise ValueError(f"a band of {self} is out of range: give 0 to 9999 pixels, or 0% to less than 100%")

    def __str__(self) -> str:
        return f"{self.value:.4g}" if not self.relative else f"{100 * self.value:.4g}%"

    def pixels(self, object_area: int) -> float:
        """The width for an object of this area."""
        return self.value * object_area**0.5 if self.relative else self.value

    @classmethod
    def parse(cls, text: str) -> "Width":
        """Parse "12", "12px" or "2.5%"."""
        try:
            number = text.strip().removesuffix("px").removesuffix("%")
            return cls(float(number) / 100, True) if text.strip().endswith("%") else cls(float(number))
        except ValueError as error:
            raise ValueError(
                f"{text!r} is no width ({error}); write pixels (12) or a share of the object (2.5%)"
            ) from None


DEFAULT_WIDTH = Width(0.03, relative=True)


def trimap_from_mask(values: np.ndarray, inner: Width = DEFAULT_WIDTH, outer: Width = DEFAULT_WIDTH) -> np.ndarray:
    """Trimap around the edge of an object.

    What is neither 0 nor 255 is unknown, and so is everything nearer to it, or to the other side, than the widths say.
    Nothing ever changes sides: thin parts and narrow gaps become unknown. A separate small object, or a hole, that the
    band would cover entirely keeps its middle.

    Args:
        values: (H, W) uint8, 0 outside, 255 inside, soft between.
        inner, outer: how far the band reaches into and out of the object.

    Returns:
        (H, W) uint8 of 0, 128, 255.
    """
    inside, outside = values == 255, values == 0
    area = int(values.size - np.count_nonzero(outside))
    trimap = np.full(values.shape, UNKNOWN, np.uint8)
    trimap[_core(inside, inner.pixels(area))] = FOREGROUND
    trimap[_core(outside, outer.pixels(area))] = BACKGROUND
    return trimap


def drawn_widths(inner: Width, outer: Width, seed: int, name: str) -> tuple[Width, Width]:
    """Draw widths of 10 to 100 % per seed and name."""
    shares = np.random.default_rng([seed, zlib.crc32(os.fsencode(name))]).uniform(0.1, 1, 2)
    return replace(inner, value=inner.value * shares[0]), replace(outer, value=outer.value * shares[1])


def _core(region: np.ndarray, width_px: float) -> np.ndarray:
    """Pixels deeper than width_px in a region; the frame is no edge."""
    if region.all() or not region.any():
        return region
    depth = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    core = depth > width_px
    count, labels = cv2.connectedComponents(region.astype(np.uint8), connectivity=4)
    deepest = np.zeros(count, np.float32)
    np.maximum.at(deepest, labels[region], depth[region])
    covered = (deepest <= width_px) & (deepest >= MIN_CORE_DEPTH_PX)
    covered[0] = False
    if covered.any():
        core |= covered[labels] & (depth > CORE_SHARE * deepest[labels])
    return core


def instance_trimaps(
    labels: np.ndarray, inner: Width = DEFAULT_WIDTH, outer: Width = DEFAULT_WIDTH
) -> dict[int, np.ndarray]:
    """One trimap per label other than 0.

    To each object the others are background.
    """
    found = [int(label) for label in np.unique(labels) if label]
    return {
        label: trimap_from_mask(np.where(labels == label, np.uint8(255), np.uint8(0)), inner, outer) for label in found
    }


def read_mask(path: str | Path, kind: MaskKind = "auto", size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a mask as uint8 (H, W), upright; instance labels as stored.

    Args:
        size: (height, width) of the photograph; a mask of another size is resized, with a warning.
        kind: "alpha": the alpha channel or, without one that is transparent anywhere, the grey values, as they are;
            "mask": the same, cut at one half (antialiased and JPEG masks); "auto": "alpha" for files with such an
            alpha channel, else "mask";
            "instances": label numbers (palette indices, or grey values).
    """
    pixels = first_picture(path, decode(path, alpha=True, indices=kind == "instances"))
    if kind == "instances":
        if pixels.ndim == 3:
            raise FileError(f"{path}: instances are palette or grey images (one number per object), not colours")
        return _fitted(path, pixels, size, cv2.INTER_NEAREST_EXACT)
    has_alpha = pixels.ndim == 3 and pixels.shape[2] == 4 and pixels[..., 3].min() < np.iinfo(pixels.dtype).max
    if pixels.ndim == 3:
        pixels = pixels[..., 3] if has_alpha else pixels[..., :3].max(axis=2)  # an object may be drawn in any colour
    if pixels.max() == 1:
        logger.warning("%s: mask has no value above 1, which is taken for white", path)
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    values = _fitted(path, np.ascontiguousarray(to_uint8(pixels)), size, cv2.INTER_LINEAR)
    return values if kind == "alpha" or (kind == "auto" and has_alpha) else binary(values)


def _fitted(path: str | Path, values: np.ndarray, size: tuple[int, int] | None, interpolation: int) -> np.ndarray:
    """Mask resized to its photograph; refused if the proportions differ."""
    if size is None or values.shape == tuple(size):
        return values
    sizes = " x ".join(map(str, values.shape[::-1])), " x ".join(map(str, size[::-1]))
    ratio = (values.shape[1] / values.shape[0]) / (size[1] / size[0])
    # Rounding to whole pixels changes the shape of small masks by up to half a pixel per side.
    if abs(ratio - 1) > MAX_DISTORTION + 0.5 / min(values.shape) + 0.5 / min(size):
        raise FileError(f"{path}: mask is {sizes[0]} but image is {sizes[1]}, which is another shape (width x height)")
    logger.warning("%s: mask is %s, resized to the %s of its image", path, *sizes)
    if values.size > size[0] * size[1] and interpolation == cv2.INTER_LINEAR:
        interpolation = cv2.INTER_AREA
    return cv2.resize(values, size[::-1], interpolation=interpolation)


def binary(values: np.ndarray) -> np.ndarray:
    """Threshold uint8 values at one half, to 0 and 255."""
    return np.where(values >= HALF, np.uint8(255), np.uint8(0))
