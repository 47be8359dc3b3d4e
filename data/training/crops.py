"""One training crop out of decoded pictures, paying for its pixels only.

The published order of operations resizes, turns and blends whole pictures and then throws most of them away. Here the
chain of resizes, affine map and crop is one matrix. The crop's place depends on the trimap, which is made at 640x640
whatever the picture's size, so a small alpha is warped first; the 512x512 that it points to follow, from the sources.

Scales, angles and places are distributed as published. Since pictures are interpolated once instead of up to four
times, crops are a little sharper, and the unknown band is a little narrower (by 7 % of its area around a disc); and
JPEG decoders that average make strongly shrunk colours less jagged.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from data.training.augment import (
    AffineSettings,
    ColourMatchSettings,
    CropSettings,
    DefocusSettings,
    JitterSettings,
    canvas_size,
    choose_corner,
    defocus,
    draw_affine,
    jitter_colour,
    match_colours,
)
from data.training.realworld import RealWorldSettings, degrade
from data.training.warp import (
    Size,
    decode_reduction,
    draw_interpolation,
    nearest_indices,
    read_upright,
    resize_matrix,
    translation,
    warp,
)
from data.trimap import BACKGROUND, FOREGROUND, TrimapSettings, is_unknown, random_trimap

LEAST_KNOWN = 0.005  # of a crop, per side: with less it is one-sided

ReadColour = Callable[[int], np.ndarray]  # reduction (1, 2, 4, 8) -> (H, W, 3) uint8, at most so much smaller


@dataclass(frozen=True)
class CompositionSettings:
    """The published constants of the DIM-style pipeline."""

    merge_probability: float = 0.5  # of a second foreground beneath the first
    shrink_probability: float = 0.25  # of squeezing the whole picture into a square first
    shrink_px: int = 640
    affine: AffineSettings = field(default_factory=AffineSettings)
    trimap: TrimapSettings = field(default_factory=TrimapSettings)
    crop: CropSettings = field(default_factory=CropSettings)
    jitter: JitterSettings = field(default_factory=JitterSettings)
    defocus: DefocusSettings = field(default_factory=DefocusSettings)
    colour_match: ColourMatchSettings = field(default_factory=ColourMatchSettings)
    realworld: RealWorldSettings = field(default_factory=RealWorldSettings)


@dataclass(frozen=True)
class Geometry:
    """Transformation of the whole picture before the crop, with its canvas size."""

    working: Size
    canvas: Size
    affine: np.ndarray  # within the working size


@dataclass(frozen=True)
class CropPlan:
    """Matrices from crop pixels to source pixels, per layer."""

    size: Size
    corner: Size  # top and left in the canvas
    trimap: np.ndarray  # (size) uint8 0, 128, 255
    to_first: np.ndarray
    to_second: np.ndarray | None  # None: no second foreground
    to_working: np.ndarray  # crop pixel -> pixel of a picture of the size `working`
    working: Size

    def to_background(self, background: Size) -> np.ndarray:
        """The same for a background, stretched to the working size, not turned."""
        return resize_matrix(self.working, background) @ self.to_working


@dataclass
class Layer:
    """Foreground to warp: its alpha, and a reader of its colours.

    The alpha is (H, W), uint8 or uint16.
    """

    alpha: np.ndarray
    read_colour: ReadColour


def draw_geometry(size: Size, rng: np.random.Generator, settings: CompositionSettings) -> Geometry:
    """Squeezing, affine map and enlargement for a foreground of `size`."""
    working = (settings.shrink_px,) * 2 if rng.random() < settings.shrink_probability else size
    affine = draw_affine(working, rng, settings.affine).matrix(working)
    return Geometry(working, canvas_size(working, settings.crop), affine)


def one_sided(trimap: np.ndarray) -> bool:
    """True for a trimap (H, W) that lacks known foreground or background."""
    return min((trimap == FOREGROUND).mean(), (trimap == BACKGROUND).mean()) < LEAST_KNOWN


def plan_crop(
    geometry: Geometry,
    alpha: np.ndarray,
    second_alpha: np.ndarray | None,
    rng: np.random.Generator,
    settings: CompositionSettings,
) -> CropPlan | None:
    """Trimap and place of the crop; None without unknown pixels.

    Args:
        alpha, second_alpha: (H, W) uint8 or uint16; the second is stretched over the first.
    """
    side = settings.trimap.side_px
    small = geometry.affine @ resize_matrix((side, side), geometry.working)
    to_first = resize_matrix(geometry.working, alpha.shape)
    small_alpha = _warp_small(alpha, to_first @ small, side, rng)
    to_second = None
    if second_alpha is not None and leaves_background(alpha, second_alpha, side):
        to_second = resize_matrix(geometry.working, second_alpha.shape)
        small_alpha = union_alpha(small_alpha, _warp_small(second_alpha, to_second @ small, side, rng))
    small_trimap = random_trimap(small_alpha, rng, settings.trimap)

    grid = settings.crop.grid_px
    rows, columns = (nearest_indices(length // grid, side) for length in geometry.canvas)
    corner = choose_corner(is_unknown(small_trimap[np.ix_(rows, columns)]), geometry.canvas, rng, settings.crop)
    size = (settings.crop.size_px,) * 2
    rows, columns = (
        nearest_indices(length, side)[start : start + settings.crop.size_px]
        for start, length in zip(corner, geometry.canvas, strict=True)
    )
    trimap = small_trimap[np.ix_(rows, columns)]
    if not is_unknown(trimap).any():
        return None
    to_working = resize_matrix(geometry.canvas, geometry.working) @ translation(*corner)
    return CropPlan(
        size=size,
        corner=corner,
        trimap=trimap,
        to_first=to_first @ geometry.affine @ to_working,
        to_second=None if to_second is None else to_second @ geometry.affine @ to_working,
        to_working=to_working,
        working=geometry.working,
    )


def render_crop(
    plan: CropPlan,
    first: Layer,
    second: Layer | None,
    background: np.ndarray,
    rng: np.random.Generator,
    settings: CompositionSettings,
) -> dict[str, np.ndarray]:
    """Warp, jitter and blend what the plan names.

    Returns:
        image (S, S, 3) float32 RGB in [0, 1], alpha (S, S) float32 in [0, 1], trimap (S, S) uint8.
    """
    alpha = warp_alpha(first.alpha, plan.to_first, plan.size, draw_interpolation(rng))
    colour = _warp_colour(first, plan.to_first, alpha, rng)
    if plan.to_second is not None:
        under = warp_alpha(second.alpha, plan.to_second, plan.size, draw_interpolation(rng))
        seen = under * (1 - alpha)
        if seen.any():
            colour, alpha = merge_foregrounds(colour, alpha, _warp_colour(second, plan.to_second, seen, rng), under)
    to_background = plan.to_background(background.shape[:2])
    shown = read_upright(background, to_background, plan.size, draw_interpolation(rng))
    shown = defocus(np.multiply(shown, np.float32(1 / 255), dtype=np.float32), rng, settings.defocus)
    jittered = jitter_colour(colour, alpha, rng, settings.jitter)
    image = blend(match_colours(jittered, alpha, shown, rng, settings.colour_match), shown, alpha)
    return {"image": degrade(image, rng, settings.realworld), "alpha": alpha, "trimap": plan.trimap}


def leaves_background(first: np.ndarray, second: np.ndarray, side_px: int) -> bool:
    """False if two stretched alphas cover everything, and one must go."""
    open_areas = []
    for alpha in (first, second):
        sampled = cv2.resize(alpha, (side_px, side_px), interpolation=cv2.INTER_NEAREST)
        open_areas.append(sampled < np.iinfo(alpha.dtype).max)
    return bool((open_areas[0] & open_areas[1]).any())


def warp_alpha(alpha: np.ndarray, matrix: np.ndarray, size: Size, interpolation: int) -> np.ndarray:
    """Warp a uint8 or uint16 alpha to float32, 0 outside."""
    top = np.iinfo(alpha.dtype).max
    return warp(alpha, matrix, size, interpolation).astype(np.float32) / np.float32(top)


def _warp_small(alpha: np.ndarray, matrix: np.ndarray, side_px: int, rng: np.random.Generator) -> np.ndarray:
    """Alpha at the size of the trimap; cubic in place of Lanczos.

    Lanczos takes three times as long as all the rest here, and leaves the same pixels known but for its faint ringing.
    """
    return warp_alpha(alpha, matrix, (side_px, side_px), min(draw_interpolation(rng), cv2.INTER_CUBIC))


def _warp_colour(layer: Layer, matrix: np.ndarray, visible: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Warped colours of a layer, uint8.

    The file is decoded only if some of it is visible.
    """
    interpolation = draw_interpolation(rng)
    if not visible.any():
        return np.zeros((*visible.shape, 3), np.uint8)
    colour = layer.read_colour(decode_reduction(matrix))
    matrix = resize_matrix(layer.alpha.shape, colour.shape[:2]) @ matrix
    return warp(colour, matrix, visible.shape, interpolation, visible)


def union_alpha(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Coverage of two independent layers, float32 in [0, 1]: 1 - (1 - a)(1 - b)."""
    return first + second * (1 - first)


def merge_foregrounds(
    first: np.ndarray, first_alpha: np.ndarray, second: np.ndarray, second_alpha: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lay the first foreground over the second.

    Args:
        first, second: (H, W, 3) uint8.
        first_alpha, second_alpha: (H, W) float32 in [0, 1].

    Returns:
        The colours, mixed by the first alpha and cut to uint8 as published, and the joint alpha.
    """
    mixed = blend(first.astype(np.float32), second.astype(np.float32), first_alpha)
    return mixed.astype(np.uint8), union_alpha(first_alpha, second_alpha)


def blend(foreground: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composite two float32 layers (H, W, 3) with alpha (H, W) in [0, 1]."""
    image = foreground - background
    image *= alpha[..., None]
    image += background
    return image
