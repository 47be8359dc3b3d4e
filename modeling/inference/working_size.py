"""Matting at the size a network was trained on.

Networks that saw small pictures in training solve hair of a few pixels' width, and fail where the same hair is ten
times as wide. The surroundings of the unknown region are therefore reduced to a working size, unless the picture
really has detail that this would remove: sharp strands of a few pixels are what the network knows. Alpha returns to
full size by `modeling/resizing.py`.
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
from ..inputs import is_unknown
from ..resizing import enlarge, enlarging_cost, reduce
from ..tiles import CELL_PX
from ..zoo import MODELS

WorkingSize = int | Literal["auto", "full"]
SMALLEST_PX = 64
CONTEXT = 0.125  # of the unknown region's longer side, known pixels around it that the network sees
TOLERANCE = 1.25  # pictures larger than the working size by less are computed as they are
MOST_LOST, SIZE_STEP = 0.02, 1.25  # share of contrast that may be lost; growth of the size where more would be
SAMPLE_PX, SAMPLES = 128, 48  # side and number of the samples that this is measured on


@dataclass(frozen=True)
class Plan:
    """Part of a picture, and its size as the network sees it.

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
    if stated.isdecimal() and int(stated) >= SMALLEST_PX:
        return int(stated)
    model = MODELS.get(metadata.get("config", ""))
    return model.working_size_px if model else None


def plan(trimap: Tensor, size_px: int, image: Tensor | None = None) -> Plan | None:
    """Surroundings of the unknown region at `size_px`; None for small pictures.

    Args:
        trimap: (1, 1, H, W) uint8.
        size_px: longer side at which the network is to see the part.
        image: (1, 3, H, W) uint8; where it is given, the part is reduced no further than its detail survives.
    """
    rows, cols = trimap.shape[-2:]
    if max(rows, cols) <= TOLERANCE * size_px:
        return None
    unknown = is_unknown(trimap[0, 0])
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
    """Half-open range of the marked indices; everything if none is marked."""
    indices = marked.nonzero()
    return (int(indices[0]), int(indices[-1]) + 1) if len(indices) else (0, len(marked))


def lost_detail(image: Tensor, trimap: Tensor, factor: float) -> float:
    """Share of contrast in the unknown region that reducing removes, without noise.

    Measured on samples of the region; 0 for pictures without contrast.

    Args:
        image: (1, 3, H, W) uint8.
        trimap: (1, 1, H, W) uint8.
    """
    side, (rows, cols) = SAMPLE_PX, image.shape[-2:]
    if min(rows, cols) < side:
        return 0.0
    unknown = is_unknown(trimap).float()
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


def spread(maps: np.ndarray, part: Plan, rows: int, cols: int) -> np.ndarray:
    """Token decisions of a reduced part per 16-px cell of the picture.

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


def working_size_cost(chosen: Plan, rows: int, cols: int) -> int:
    """Upper estimate in bytes for reducing and enlarging, by the picture's size.

    The alpha of the picture and of the part are float32; reducing holds one channel in float32.
    """
    part = (chosen.bottom - chosen.top) * (chosen.right - chosen.left)
    return 6 * rows * cols + 12 * part + enlarging_cost(chosen.height, chosen.width)


def matte_reduced(predict: Callable[[Tensor, Tensor], Tensor], image: Tensor, trimap: Tensor, chosen: Plan) -> Tensor:
    """Alpha of a picture by a network that sees a reduced part.

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
