"""Matting at the size a network was trained on; alpha returns to full size along the edges of the picture.

Networks that saw small pictures in training solve hair of a few pixels' width, and fail where the same hair is ten
times as wide. The surroundings of the unknown region are therefore reduced to a working size, unless the picture
really has detail that this would remove: sharp strands of a few pixels are what the network knows.

The enlarged alpha lacks the detail that reducing removed; a local linear model returns it. In a small window
alpha = a * colour + b, so

    alpha(full) = enlarged alpha + a * (picture - enlarged reduced picture),

a fast guided filter (He and Sun 2015) of what was lost, in tiles. Pictures without finer detail are not changed by it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoints.files import read_metadata
from .tiles import CELL_PX, cover, unknown_cells

WorkingSize = int | Literal["auto", "full"]
KNOWN = {"MEMatte_T": 640, "ViTMatte_T": 640}  # by config, for weights that state no size (docs/photographs.md)
SMALLEST_PX = 64
CONTEXT = 0.125  # of the unknown region's longer side, known pixels around it that the network sees
TOLERANCE = 1.25  # pictures larger than the working size by less are computed as they are
RADIUS_PX, SMOOTHING = 2, 2e-4  # of the linear models: half a window's side, variance of colours that counts as noise
MOST_LOST, SIZE_STEP = 0.02, 1.25  # share of contrast that may be lost; growth of the size where more would be
SAMPLE_PX, SAMPLES = 128, 48  # side and number of the samples that this is measured on
TILE_PX = 512 * 512
_TILE_BYTES = 80  # per pixel of a tile: coordinates, samples and picture in float32
_REDUCED_BYTES = 200  # per pixel of the reduced picture: moments, slopes, samples


@dataclass(frozen=True)
class Plan:
    """A part of a picture, and the size at which the network sees it.

    Attributes:
        top, bottom, left, right: the part, half-open, in pixels.
        height, width: of the part as the network sees it.
    """

    top: int
    bottom: int
    left: int
    right: int
    height: int
    width: int

    @property
    def reduces(self) -> bool:
        """True where the network sees fewer pixels than the part has."""
        return (self.height, self.width) != (self.bottom - self.top, self.right - self.left)

    def __str__(self) -> str:
        part = f"{self.right - self.left} x {self.bottom - self.top} pixels at ({self.left}, {self.top})"
        return f"around the unknown region, {part} matted at {self.width} x {self.height}"

    def crop(self, tensor: Tensor) -> Tensor:
        """(..., H, W) -> the part of it."""
        return tensor[..., self.top : self.bottom, self.left : self.right]


def parse_working_size(value: str | int) -> WorkingSize:
    """ "auto", "full" or a number of pixels.

    Raises:
        ValueError: none of these, or fewer pixels than a network needs.
    """
    if value in ("auto", "full"):
        return value
    try:
        size_px = int(value)
    except ValueError:
        size_px = 0
    if size_px < SMALLEST_PX:
        raise ValueError(
            f"working size {value!r}: use auto, full, or at least {SMALLEST_PX} (pixels of the longer side)"
        )
    return size_px


def resolve_working_size(value: WorkingSize, checkpoint: str | Path | None) -> int | None:
    """Working size in pixels, None for full.

    Args:
        value: as given by the user.
        checkpoint: weights that may state the size for "auto": `working_size_px` in the metadata of a `.safetensors`
            file, or a `config` that is known here.
    """
    value = parse_working_size(value)
    if value == "full" or (
        value == "auto" and (checkpoint is None or Path(checkpoint).suffix.lower() != ".safetensors")
    ):
        return None
    if value != "auto":
        return value
    metadata = read_metadata(checkpoint)
    stated = metadata.get("working_size_px", "")
    return int(stated) if stated.isdecimal() and int(stated) >= SMALLEST_PX else KNOWN.get(metadata.get("config", ""))


def plan(trimap: Tensor, size_px: int, image: Tensor | None = None) -> Plan | None:
    """Surroundings of the unknown region, reduced to `size_px`; None where the picture is small enough as it is.

    Args:
        trimap: (1, 1, H, W) uint8.
        size_px: longer side at which the network is to see the part.
        image: (1, 3, H, W) uint8; where it is given, the part is reduced no further than its detail survives.
    """
    rows, cols = trimap.shape[-2:]
    if max(rows, cols) <= TOLERANCE * size_px:
        return None
    unknown = (trimap[0, 0] != 0) & (trimap[0, 0] != 255)
    top, bottom = _extent(unknown.any(dim=1))
    left, right = _extent(unknown.any(dim=0))
    margin = round(CONTEXT * max(bottom - top, right - left)) + CELL_PX
    top, bottom = max(top - margin, 0), min(bottom + margin, rows)
    left, right = max(left - margin, 0), min(right + margin, cols)
    longer = max(bottom - top, right - left)
    if image is not None:
        part = np.s_[..., top:bottom, left:right]
        while longer > TOLERANCE * size_px and lost_detail(image[part], trimap[part], longer / size_px) > MOST_LOST:
            size_px = round(size_px * SIZE_STEP)
    scale = 1.0 if longer <= TOLERANCE * size_px else size_px / longer
    height, width = (max(round(side * scale), 1) for side in (bottom - top, right - left))
    return Plan(top, bottom, left, right, height, width)


def _extent(marked: Tensor) -> tuple[int, int]:
    """First and last but one index of the marked ones; everything where none is."""
    indices = marked.nonzero()
    return (int(indices[0]), int(indices[-1]) + 1) if len(indices) else (0, len(marked))


def lost_detail(image: Tensor, trimap: Tensor, factor: float) -> float:
    """Share of the contrast in the unknown region that reducing by a factor removes, noise aside.

    Measured on samples of the region; 0 for pictures without contrast.

    Args:
        image: (1, 3, H, W) uint8.
        trimap: (1, 1, H, W) uint8.
    """
    side, (rows, cols) = SAMPLE_PX, image.shape[-2:]
    if min(rows, cols) < side:
        return 0.0
    unknown = ((trimap != 0) & (trimap != 255)).float()
    shares = F.avg_pool2d(unknown, side)[0, 0]  # (rows // side, cols // side)
    corners = (shares > 0).nonzero().mul(side).tolist()
    corners = corners[:: -(-len(corners) // SAMPLES)] if corners else []
    if not corners:
        return 0.0
    samples, weights = (
        torch.cat([tensor[..., y : y + side, x : x + side] for y, x in corners]) for tensor in (image, unknown)
    )
    samples = samples.float()
    reduced = F.adaptive_avg_pool2d(samples, max(round(side / factor), 1))
    lost = (samples - F.interpolate(reduced, (side, side), mode="bicubic")).square().mean(dim=1, keepdim=True)
    contrast = (samples - samples.mean(dim=(2, 3), keepdim=True)).square().mean(dim=1, keepdim=True)
    noise = lost.median()  # what most pixels lose
    removed, present = (((energy - noise).clamp(min=0) * weights).sum() for energy in (lost, contrast))
    return float(removed / present) if present > 0 else 0.0


def reduce(image: Tensor, trimap: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Average colours; known are only pixels all of whose area is.

    Args:
        image: (1, 3, H, W) uint8.
        trimap: (1, 1, H, W) uint8 of 0, 128, 255.

    Returns:
        (1, 3, height, width) and (1, 1, height, width), as the arguments.
    """
    smaller = _averaged(image, height, width)
    known = torch.cat([trimap == 0, trimap == 255], dim=1).to(torch.uint8) * 255
    background, foreground = (_averaged(known, height, width) == 255).split(1, dim=1)
    levels = torch.full_like(background, 128, dtype=torch.uint8)
    return smaller, levels.masked_fill_(background, 0).masked_fill_(foreground, 255)


def _averaged(pixels: Tensor, height: int, width: int) -> Tensor:
    """uint8 mean over areas, one channel at a time, since each is needed in float32."""
    means = [F.adaptive_avg_pool2d(channel.float(), (height, width)) for channel in pixels.split(1, dim=1)]
    return torch.cat(means, dim=1).round_().to(torch.uint8)


def enlarge(alpha: Tensor, reduced: Tensor, image: Tensor, trimap: Tensor, tile_px: int = TILE_PX) -> Tensor:
    """Alpha at full size, exact where the trimap knows it.

    Args:
        alpha: (1, 1, h, w) float32, of the reduced picture.
        reduced: (1, 3, h, w) uint8.
        image: (1, 3, H, W) uint8.
        trimap: (1, 1, H, W) uint8 of 0, 128, 255.

    Returns:
        (1, 1, H, W) float32 in [0, 1].
    """
    rows, cols = image.shape[-2:]
    small = reduced.float() / 255
    slopes = linear_models(small, alpha)
    coarse = torch.cat([alpha, small], dim=1)  # (1, 4, h, w)
    full = (trimap == 255).float()
    for box in cover(unknown_cells(trimap, -(-rows // CELL_PX), -(-cols // CELL_PX)), tile_px):
        top, bottom, left, right = box.pixels()
        bottom, right = min(bottom, rows), min(right, cols)
        grid = _positions(top, bottom, left, right, rows, cols).to(alpha.device)
        enlarged = F.grid_sample(coarse, grid, mode="bicubic", padding_mode="border", align_corners=False)
        slope = F.grid_sample(slopes, grid, mode="bilinear", padding_mode="border", align_corners=False)
        lost = image[..., top:bottom, left:right].float() / 255 - enlarged[:, 1:]  # (1, 3, bottom - top, right - left)
        fine = (enlarged[:, :1] + (slope * lost).sum(dim=1, keepdim=True)).clamp_(0, 1)
        known = trimap[..., top:bottom, left:right]
        target = full[..., top:bottom, left:right]
        torch.where((known == 0) | (known == 255), target, fine, out=target)
    return full


def _positions(top: int, bottom: int, left: int, right: int, rows: int, cols: int) -> Tensor:
    """(1, bottom - top, right - left, 2): x and y of pixel centres, from -1 to 1 over a picture of rows x cols."""
    y = (torch.arange(top, bottom) + 0.5) * (2 / rows) - 1
    x = (torch.arange(left, right) + 0.5) * (2 / cols) - 1
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]


def linear_models(image: Tensor, alpha: Tensor) -> Tensor:
    """Slopes a of alpha = a * colour + b, least squares per window, averaged over the windows around a pixel.

    Args:
        image: (1, 3, h, w) in [0, 1].
        alpha: (1, 1, h, w).

    Returns:
        (1, 3, h, w).
    """
    mean, mean_alpha = _windows(image), _windows(alpha)
    cross = _windows(image * alpha) - mean * mean_alpha  # (1, 3, h, w)
    r, g, b = image.split(1, dim=1)
    mean_r, mean_g, mean_b = mean.split(1, dim=1)
    rr, gg, bb = (_windows(c * c) - m * m + SMOOTHING for c, m in ((r, mean_r), (g, mean_g), (b, mean_b)))
    rg, rb, gb = _windows(r * g) - mean_r * mean_g, _windows(r * b) - mean_r * mean_b, _windows(g * b) - mean_g * mean_b
    adjugate = (gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg)  # first row; symmetric
    adjugate += (rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg)  # second from its middle, and the last entry
    determinant = rr * adjugate[0] + rg * adjugate[1] + rb * adjugate[2]
    cross_r, cross_g, cross_b = cross.split(1, dim=1)
    slope_r = adjugate[0] * cross_r + adjugate[1] * cross_g + adjugate[2] * cross_b
    slope_g = adjugate[1] * cross_r + adjugate[3] * cross_g + adjugate[4] * cross_b
    slope_b = adjugate[2] * cross_r + adjugate[4] * cross_g + adjugate[5] * cross_b
    slopes = torch.cat([slope_r, slope_g, slope_b], dim=1)  # (1, 3, h, w)
    return _windows(slopes / determinant)


def _windows(values: Tensor) -> Tensor:
    """Mean over the window around each pixel, cut at the border."""
    side = 2 * RADIUS_PX + 1
    return F.avg_pool2d(values, side, stride=1, padding=RADIUS_PX, count_include_pad=False)


def spread(maps: np.ndarray, part: Plan, rows: int, cols: int) -> np.ndarray:
    """Token decisions over a reduced part -> the same per cell of 16 x 16 pixels of a picture of rows x cols pixels.

    Args:
        maps: (h, w) bool, per token that the network saw.

    Returns:
        (ceil(rows / 16), ceil(cols / 16)) bool; False outside the part.
    """
    y = (np.arange(0, rows, CELL_PX) + CELL_PX // 2 - part.top) * part.height // (part.bottom - part.top)
    x = (np.arange(0, cols, CELL_PX) + CELL_PX // 2 - part.left) * part.width // (part.right - part.left)
    inside = ((y >= 0) & (y < part.height))[:, None] & ((x >= 0) & (x < part.width))
    tokens = maps[np.clip(y // CELL_PX, 0, len(maps) - 1)[:, None], np.clip(x // CELL_PX, 0, maps.shape[1] - 1)]
    return tokens & inside


def enlarging_cost(chosen: Plan, rows: int, cols: int) -> int:
    """Upper estimate in bytes of what reducing and enlarging take for a picture of rows x cols pixels.

    The alpha of the picture and of the part are float32; reducing holds one channel in float32.
    """
    part = (chosen.bottom - chosen.top) * (chosen.right - chosen.left)
    return 6 * rows * cols + 12 * part + _TILE_BYTES * TILE_PX + _REDUCED_BYTES * chosen.height * chosen.width


def matte_reduced(predict: Callable[[Tensor, Tensor], Tensor], image: Tensor, trimap: Tensor, chosen: Plan) -> Tensor:
    """Alpha of a whole picture from a network that sees a part of it, reduced.

    Args:
        predict: image (1, 3, h, w) and trimap (1, 1, h, w), uint8, -> alpha (1, 1, h, w).
        image: (1, 3, H, W) uint8.
        trimap: (1, 1, H, W) uint8.

    Returns:
        (1, 1, H, W) float32, on the device of `image`.
    """
    part, levels = chosen.crop(image), chosen.crop(trimap)
    result = (trimap == 255).float()
    if not chosen.reduces:
        chosen.crop(result).copy_(predict(part, levels))
        return result
    reduced, reduced_levels = reduce(part, levels, chosen.height, chosen.width)
    alpha = predict(reduced, reduced_levels).to(image.device, torch.float32)
    chosen.crop(result).copy_(enlarge(alpha, reduced, part, levels))
    return result
