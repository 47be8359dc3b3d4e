"""Diffusion decoder on exact tiles, with work shared by all steps."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..decoder.diffusion_decoder import Constants, DiffusionDecoder
from ..inputs import Window, image_and_classes, pad_right_bottom, whole_window
from ..tiles import CELL_PX, Box, grid

# The constants of a tile take less than a tenth of the memory that decoding it takes. Those of so many tiles are kept
# from step to step; the rest is computed again, so that memory stays bounded whatever the image.
KEPT_TILES = 8


class Reach(NamedTuple):
    """Receptive field of an output pixel in both inputs, in pixels."""

    image_px: int
    feature_px: int


def halo_cells(decoder: DiffusionDecoder) -> int:
    """Context of a tile in cells, a multiple of the feature's stride."""
    reach_px = max(decoder_reach(decoder))
    return math.ceil(reach_px / decoder.feature_stride) * decoder.feature_stride // CELL_PX


def decoder_reach(decoder: DiffusionDecoder) -> Reach:
    """Halo of exact tiles, by interval arithmetic through the layers."""
    period = decoder.feature_stride
    levels = len(decoder.up_blks)
    spans = [_dependence(pixel, levels) for pixel in range(period)]
    image = max(max(pixel - low, high - pixel) for pixel, ((low, high), _) in enumerate(spans))
    # A feature cell stands for `stride` pixels, and all of them have to be inside the tile.
    feature = max(
        max(pixel - low * period, (high + 1) * period - 1 - pixel) for pixel, (_, (low, high)) in enumerate(spans)
    )
    return Reach(image, feature)


def _dependence(pixel: int, levels: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Input pixels and feature cells of an output pixel, as (first, last)."""
    hull = _widen((pixel, pixel), 1)  # the head's convolution
    image = hull
    for level in range(1, levels + 1):
        hull = _before_up(hull)
        skip = hull
        for _ in range(level):
            skip = _before_down(skip)
        image = (min(image[0], skip[0]), max(image[1], skip[1]))
    return image, _before_up(hull)


def _widen(span: tuple[int, int], by: int) -> tuple[int, int]:
    return span[0] - by, span[1] + by


def _before_down(span: tuple[int, int]) -> tuple[int, int]:
    low, high = _widen(span, 1)  # conv2; conv1 and the shortcut read 2p - 1 to 2p + 1
    return 2 * low - 1, 2 * high + 1


def _before_up(span: tuple[int, int]) -> tuple[int, int]:
    # conv2, or the convolution after interpolation; then interpolation and transposed convolution both read
    # floor((p - 1) / 2) to floor((p + 1) / 2).
    low, high = _widen(span, 1)
    return (low - 1) // 2, (high + 1) // 2


def decoding_cost(decoder: DiffusionDecoder, pixels: int) -> int:
    """Upper estimate in bytes for decoding in float32, `Constants` included.

    The widest moment is the last up block: its input, the doubled one, copies of it in the layouts of the
    convolutions, both branches, beside the skip connections. The factors were measured on a CPU.
    """
    last = decoder.up_blks[-1].upsample.conv
    skips = sum(block.conv1.out_channels / 4**scale for scale, block in enumerate(decoder.down_blks, 1))
    channels = 5 * last.in_channels + 6 * last.out_channels + 2 * skips
    return int(4 * channels * pixels) + constants_cost(decoder, pixels)


def constants_cost(decoder: DiffusionDecoder, pixels: int) -> int:
    """Bytes of the `Constants` of so many pixels in float32."""
    middle = decoder.mid_blk.conv1.out_channels / (decoder.feature_stride // 2) ** 2
    return int(8 * (decoder.down_blks[0].conv1.out_channels / 4 + middle) * pixels)


class TiledEstimate:
    """Clean mattes of one image at any step, equal to whole-image decoding.

    Args:
        features: (B, C, h, w) of the encoder.
        image: (B, 3, H, W) uint8 or float in [0, 1].
        classes: (B, 1, H, W) of `trimap_classes`.
        tile_px: most pixels a tile holds, halo included.
        free_classes: tiles that hold nothing else are filled from the trimap at the last step. Earlier steps need every
            pixel, since the noise level is that of the whole image.
    """

    def __init__(
        self,
        decoder: DiffusionDecoder,
        features: Tensor,
        image: Tensor,
        classes: Tensor,
        tile_px: int,
        free_classes: Sequence[int] = (),
    ) -> None:
        self._decoder, self._features, self._image, self._classes = decoder, features, image, classes
        self._kept: dict[Box, Constants] = {}
        stride_cells = decoder.feature_stride // CELL_PX
        _, height, _, width = whole_window(image)
        self._cells = height // CELL_PX, width // CELL_PX
        self._halo = halo_cells(decoder)
        side = max(self._cells)
        if height * width > tile_px:
            side = math.isqrt(tile_px) // CELL_PX - 2 * self._halo
            side = max(side // stride_cells, 1) * stride_cells
        self._boxes = list(grid(*self._cells, side))
        free = torch.tensor(free_classes, device=classes.device, dtype=torch.uint8)
        self._free = {box for box in self._boxes if torch.isin(self._crop(classes, box.pixels()), free).all()}

    def __call__(self, x: Tensor, t: Tensor, last: bool) -> Tensor:
        """Clean matte in [-1, 1] of a normalised state (B, 1, H, W).

        `t` is its time (B,); `last` says that no step follows.
        """
        if len(self._boxes) == 1 and not (last and self._free):
            return self._decode(self._boxes[0], x, t)
        clean = torch.empty_like(x)
        for box in self._boxes:
            target = self._crop(clean, box.pixels())
            if last and box in self._free:
                target.copy_(self._crop(self._classes, box.pixels()).to(x.dtype) - 1)
            else:
                target.copy_(self._decode(box, x, t))
        return clean

    def _decode(self, box: Box, x: Tensor, t: Tensor) -> Tensor:
        """Clean matte of the part of `box` that lies inside the image."""
        window = box.grown(self._halo, *self._cells).pixels()
        part = pad_right_bottom(self._crop(x, window), window[1] - window[0], window[3] - window[2])
        tile = self._decoder(self._constants(box, window), part, t)
        top, bottom, left, right = box.pixels()
        bottom, right = min(bottom, x.shape[-2]), min(right, x.shape[-1])
        return tile[..., top - window[0] : bottom - window[0], left - window[2] : right - window[2]]

    def _constants(self, box: Box, window: Window) -> Constants:
        if box in self._kept:
            return self._kept[box]
        features = self._crop(self._features, tuple(edge // self._decoder.feature_stride for edge in window))
        condition = image_and_classes(self._image, self._classes, window, centred=True)
        constants = self._decoder.prepare(features, condition)
        if len(self._kept) < KEPT_TILES:
            self._kept[box] = constants
        return constants

    @staticmethod
    def _crop(tensor: Tensor, window: Window) -> Tensor:
        top, bottom, left, right = window
        return tensor[..., top:bottom, left:right]
