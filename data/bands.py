"""Unknown bands of varying width: narrow along hard edges, wide in hair.

Colours tell how far. Known pixels on both sides of the border, beyond the reach of any band, are examples of the object
and of its surroundings nearby; each pixel near the border is compared with them. Where pixels outside look like the
object, or pixels inside like the surroundings, more often than farther away, the edge is soft, hairy or badly drawn,
and the band covers them. All of it is measured on a reduced picture; distances are taken at full size. Where a
solver is given, what the picture and the mask together decide is known again (`deciding.py`).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data.deciding import Solve, decide
from data.masks import CORE_SHARE, MIN_CORE_DEPTH_PX, Width, trimap_from_mask
from data.trimap import BACKGROUND, FOREGROUND, UNKNOWN

AUTO = "auto"
MEASURED_PX = 512  # longer side of the picture that widths are measured on; lengths below are pixels of it
CELL_PX = 16  # one width is measured per cell and side
REACH_PX = 32  # widest band
STEP_PX = 2  # distances are told apart in steps of so many pixels
NARROWEST_PX, MARGIN_PX = 2.0, 1.5  # of a band; beyond the last pixel that needs it
LEAST_PX, WIDEST_SHARE = 4.0, 0.2  # widest band of an object: so much, and so much of the root of its area
UNDECIDED_PX = 11.0  # where colours do not tell the sides apart
SAMPLES = 100  # examples per side and cell
NEIGHBOURS = 3  # the so many-th nearest example counts, so that single outliers do not
SURE = 0.2  # of the ratio of distances: so near to either end it counts as the end itself
NOISE = 8.0  # difference of colours that means nothing
EXCESS = 0.2  # share of pixels like the other side, beyond that farther away, that still needs the band
CONTRAST = 0.3  # difference of likeness between the sides below which colours do not tell
CONFIRMED, MOST_PARTS = 0.75, 50  # likeness that confirms a small part; small parts looked at
FRAME_PX = 4.0  # an object that ends so near to the frame is taken to reach it


@dataclass(frozen=True)
class _Sides:
    """Reduced picture around a border, with distances and likeness to the object.

    Attributes:
        inside: (h, w) bool.
        distance: (h, w) float32, to the other side.
        likeness: (h, w) float32, from 0, like the surroundings, to 1, like the object; NaN where not measured.
    """

    inside: np.ndarray
    distance: np.ndarray
    likeness: np.ndarray


def adaptive_trimap(image: np.ndarray, values: np.ndarray, solve: Solve | None = None) -> np.ndarray:
    """Trimap with an unknown band whose width follows the picture.

    What is neither 0 nor 255 in the mask is unknown too. The band is never empty, and every separate part of the
    object or of its surroundings keeps its middle.

    Args:
        image: (H, W, 3) uint8.
        values: (H, W) uint8 mask, 0 outside, 255 inside, soft between.
        solve: decides what it can of the band; without it the band stays as wide as it was measured.

    Returns:
        (H, W) uint8 of 0, 128, 255.
    """
    if image.shape[:2] != values.shape:
        raise ValueError(f"mask is {values.shape} but image is {image.shape[:2]}; resize the mask first")
    values = to_frame(values)
    if (values == values.flat[0]).all():
        return np.full(values.shape, values.flat[0] if values.flat[0] in (0, 255) else UNKNOWN, np.uint8)
    scale = max(1.0, max(values.shape) / MEASURED_PX)
    measured = measure(image, values)
    trimap = np.full(values.shape, UNKNOWN, np.uint8)
    for level, side, widths, like in (
        (FOREGROUND, values == 255, measured.inner, measured.likeness),
        (BACKGROUND, values == 0, measured.outer, 1 - measured.likeness),
    ):
        trimap[_core(side, np.maximum(widths * scale, 1.5), like)] = level
    if solve is not None:
        decide(image, values, trimap, measured.likeness, solve)
    return trimap


@dataclass(frozen=True)
class Band:
    """Widths of the unknown band, inner and outer; None follows the picture."""

    inner: Width | None = None
    outer: Width | None = None

    @classmethod
    def parse(cls, band: str | None = None, inner: str | None = None, outer: str | None = None) -> "Band":
        """Parse "auto" or a width; `inner` and `outer` precede `band`.

        Widths are written as for `Width.parse`.
        """
        texts = (inner or band or AUTO, outer or band or AUTO)
        return cls(*(None if text.strip() == AUTO else Width.parse(text) for text in texts))

    def trimap(self, image: np.ndarray, values: np.ndarray, solve: Solve | None = None) -> np.ndarray:
        """Trimap (H, W) of a mask (H, W), for an image (H, W, 3); all uint8.

        What follows the picture is narrowed to what `solve` does not decide.
        """
        fixed = Width(0) if self.inner is None else self.inner, Width(0) if self.outer is None else self.outer
        if None not in (self.inner, self.outer):
            return trimap_from_mask(values, *fixed)
        trimap = adaptive_trimap(image, values, solve)
        if self.inner is None and self.outer is None:
            return trimap
        other = trimap_from_mask(values, *fixed)
        level, source = (FOREGROUND, other) if self.outer is None else (BACKGROUND, other)
        trimap[trimap == level] = UNKNOWN
        trimap[source == level] = level
        return trimap


FOLLOWS = Band()  # both widths follow the picture


def to_frame(values: np.ndarray) -> np.ndarray:
    """Mask whose parts that end near the frame continue to it."""
    reach = max(1, round(FRAME_PX * max(1.0, max(values.shape) / MEASURED_PX)))
    if min(values.shape) <= 4 * reach:
        return values
    values = values.copy()
    for view in (values, values[::-1], values.T, values.T[::-1]):
        for row in range(reach - 1, -1, -1):  # each row is at least the one before it, from the inside out
            np.maximum(view[row], np.where(view[row + 1] >= UNKNOWN, view[row + 1], 0), out=view[row])
    return values


@dataclass(frozen=True)
class Measured:
    """Widths of the band into and out of the object.

    Attributes:
        inner, outer: float32, one width per cell, in pixels of the reduced picture.
        likeness: of the pixels of the reduced picture, see `_Sides`.
    """

    inner: np.ndarray
    outer: np.ndarray
    likeness: np.ndarray


def measure(image: np.ndarray, values: np.ndarray) -> Measured:
    """Measure the band that a mask (H, W) needs on its image (H, W, 3); both uint8."""
    scale = max(1.0, max(values.shape) / MEASURED_PX)
    size = tuple(max(1, round(side / scale)) for side in values.shape[::-1])
    inside = cv2.resize(values, size, interpolation=cv2.INTER_AREA) >= UNKNOWN
    colours = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    grid = tuple(-(-side // CELL_PX) for side in inside.shape)
    if inside.all() or not inside.any():
        plain = np.full(grid, UNDECIDED_PX, np.float32)
        return Measured(plain, plain, np.full(inside.shape, np.nan, np.float32))
    distance = np.where(inside, _distance(inside), _distance(~inside))
    sides = _Sides(inside, distance, _likeness(colours.astype(np.float32), inside, distance))
    profiles = {side: _profile(sides, side) for side in (True, False)}
    known = {side: profile[-1] for side, profile in profiles.items()}  # likeness beyond any band
    undecided = np.nan_to_num(known[True] - known[False], nan=0.0) < CONTRAST
    widest = LEAST_PX + WIDEST_SHARE * np.count_nonzero(inside) ** 0.5
    inner, outer = (np.minimum(_widths(profiles[side], side, undecided), widest) for side in (True, False))
    return Measured(inner, outer, sides.likeness)


def _distance(region: np.ndarray) -> np.ndarray:
    return cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _likeness(colours: np.ndarray, inside: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Compare pixels near the border with examples of both sides.

    The examples lie around the pixel's cell; see `_Sides`.
    """
    rng = np.random.default_rng(0)
    height, width = inside.shape
    likeness = np.full(inside.shape, np.nan, np.float32)
    near = distance <= 2 * REACH_PX
    sure = distance > REACH_PX / 2
    for top in range(0, height, CELL_PX):
        for left in range(0, width, CELL_PX):
            cell = np.s_[top : top + CELL_PX, left : left + CELL_PX]
            if not near[cell].any():
                continue
            around = np.s_[
                max(top - 3 * REACH_PX, 0) : top + CELL_PX + 3 * REACH_PX,
                max(left - 3 * REACH_PX, 0) : left + CELL_PX + 3 * REACH_PX,
            ]
            examples = [
                _drawn(colours[around], side, sure[around], distance[around], rng)
                for side in (inside[around], ~inside[around])
            ]
            if any(len(side) < NEIGHBOURS for side in examples):
                continue
            pixels = colours[cell].reshape(-1, 3)
            to_object, to_surroundings = (_nearest(pixels, side) + NOISE for side in examples)
            ratio = to_surroundings / (to_object + to_surroundings)
            likeness[cell] = np.clip((ratio - SURE) / (1 - 2 * SURE), 0, 1).reshape(likeness[cell].shape)
    return likeness


def _drawn(
    colours: np.ndarray, side: np.ndarray, sure: np.ndarray, distance: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Example colours (N, 3) of one side.

    They lie beyond the widest band or, in thin parts, in their middle.
    """
    found = colours[side & sure]
    if len(found) < SAMPLES and side.any():
        found = colours[side & (distance >= CORE_SHARE * distance[side].max())]
    return found[rng.integers(len(found), size=SAMPLES)] if len(found) > SAMPLES else found


def _nearest(pixels: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Distance (P,) of pixels (P, 3) to the third nearest of examples (N, 3)."""
    squared = (pixels**2).sum(1)[:, None] + (examples**2).sum(1) - 2 * pixels @ examples.T
    return np.sqrt(np.maximum(np.partition(squared, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1], 0))


def _profile(sides: _Sides, inside: bool) -> np.ndarray:
    """Mean likeness per distance to the border, averaged around each cell.

    NaN where there is no such pixel.

    Returns:
        (steps + 1, h, w) over cells; the last holds all distances beyond any band.
    """
    grid = tuple(-(-side // CELL_PX) for side in sides.inside.shape)
    side = (sides.inside == inside) & np.isfinite(sides.likeness)
    likeness = np.where(side, sides.likeness, 0).astype(np.float32)
    steps = np.minimum(sides.distance // STEP_PX, REACH_PX // STEP_PX).astype(int)
    profile = np.full((REACH_PX // STEP_PX + 1, *grid), np.nan, np.float32)
    for step in range(len(profile)):
        chosen = side & (steps == step)
        count = _per_cell(chosen.astype(np.float32), grid)
        total = _per_cell(np.where(chosen, likeness, 0), grid)
        np.divide(total, count, out=profile[step], where=count > 1)
    return profile


def _per_cell(values: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Sums over 5 x 5 cells around each cell."""
    padding = [(0, cells * CELL_PX - side) for cells, side in zip(grid, values.shape, strict=True)]
    cells = np.pad(values, padding).reshape(grid[0], CELL_PX, grid[1], CELL_PX).sum(axis=(1, 3))
    return cv2.boxFilter(cells, -1, (5, 5), normalize=False, borderType=cv2.BORDER_CONSTANT)


def _widths(profile: np.ndarray, inside: bool, undecided: np.ndarray) -> np.ndarray:
    """Per cell, the distance beyond which likeness no longer changes."""
    farther = _mean_of_known(profile[-6:])
    excess = farther - profile[:-1] if inside else profile[:-1] - farther
    needs = np.nan_to_num(excess, nan=0.0) > EXCESS  # (steps, h, w)
    last = len(needs) - needs[::-1].argmax(axis=0)
    widths = np.where(needs.any(axis=0), last * STEP_PX + MARGIN_PX, NARROWEST_PX).astype(np.float32)
    widths[undecided] = np.maximum(widths[undecided], UNDECIDED_PX)
    return cv2.blur(cv2.dilate(widths, np.ones((3, 3), np.uint8)), (3, 3))


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis, NaN aside; NaN where nothing else is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _core(region: np.ndarray, widths: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Pixels of a region farther from its edge than the band reaches.

    Of separate parts that the band would cover, those keep their middle whose colours confirm them; if all would be
    covered, the deepest part does.

    Args:
        widths: (h, w), per cell; in pixels of `region`.
        like: reduced picture of how sure each pixel is of this side by its colour; NaN where that is not known.
    """
    if region.all() or not region.any():
        return region
    depth = _distance(region)
    core = depth > cv2.resize(widths, region.shape[::-1], interpolation=cv2.INTER_LINEAR)
    count, labels = cv2.connectedComponents(region.astype(np.uint8), connectivity=4)
    deepest, kept = np.zeros(count, np.float32), np.zeros(count, bool)
    np.maximum.at(deepest, labels[region], depth[region])
    kept[np.unique(labels[core])] = True
    for part in np.flatnonzero(~kept & (deepest >= MIN_CORE_DEPTH_PX))[:MOST_PARTS]:
        rows, cols = np.nonzero((labels == part) & (depth > CORE_SHARE * deepest[part]))
        colours = like[rows * like.shape[0] // region.shape[0], cols * like.shape[1] // region.shape[1]]
        known = colours[np.isfinite(colours)]
        if (known.mean() if len(known) else 0) >= CONFIRMED or (not core.any() and deepest[part] == deepest.max()):
            core[rows, cols] = True
    if not core.any():
        core = depth > CORE_SHARE * deepest.max()
    return core
