"""The diffusion decoder on images of any size: exact tiles, and what all steps share computed once."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..decoder.diffusion_decoder import Constants, DiffusionDecoder
from ..inputs import normalise, pad_right_bottom, published_size
from .tiles import CELL_PX, Box, grid

# The constants of a tile take less than a tenth of the memory that decoding it takes. Those of so many tiles are kept
# from step to step; the rest is computed again, so that memory stays bounded whatever the image.
KEPT_TILES = 8

Window = tuple[int, int, int, int]  # top, bottom, left, right in pixels


def trimap_classes(trimap: Tensor) -> Tensor:
    """(B, 1, H, W), uint8 or float in [0, 1] -> uint8 of 0 background, 1 unknown, 2 foreground, cut at 1/3 and 2/3."""
    full = 255 if trimap.dtype == torch.uint8 else 1
    return (trimap >= full / 3).to(torch.uint8) + (trimap >= full * 2 / 3)


def image_and_classes(image: Tensor, classes: Tensor, window: Window, *, centred: bool) -> Tensor:
    """Normalised image and one-hot trimap of one window of the padded image.

    Args:
        image: (B, 3, H, W) uint8 or float in [0, 1].
        classes: (B, 1, H, W) of `trimap_classes`.
        window: in the padded image; what lies beyond the image is 0 in all channels.
        centred: map every channel v to 2v - 1, the normalised image too, as the decoder expects it.

    Returns:
        (B, 6, bottom - top, right - left).
    """
    top, bottom, left, right = window
    image, classes = image[..., top:bottom, left:right], classes[..., top:bottom, left:right]
    image = image.float() / 255 if image.dtype == torch.uint8 else image
    one_hot = classes == torch.arange(3, device=classes.device).view(1, 3, 1, 1)  # (B, 3, H, W)
    channels = torch.cat([normalise(image), one_hot.to(image.dtype)], dim=1)
    return pad_right_bottom(2 * channels - 1 if centred else channels, bottom - top, right - left)


def whole_window(image: Tensor) -> Window:
    """The padded image."""
    height, width = published_size(*image.shape[-2:])
    return 0, height, 0, width


def halo_cells(decoder: DiffusionDecoder) -> int:
    """Context that a tile needs, in cells; a multiple of the feature's stride, to which tiles are aligned."""
    return math.ceil(max(decoder.reach()) / decoder.feature_stride) * decoder.feature_stride // CELL_PX


class TiledEstimate:
    """Clean mattes of one image at any step, equal to the decoder on the whole padded image.

    Args:
        features: (B, C, h, w) of the encoder.
        image: (B, 3, H, W) uint8 or float in [0, 1].
        classes: (B, 1, H, W) of `trimap_classes`.
        tile_px: most pixels a tile holds, halo included; None decodes the image in one piece.
        free_classes: tiles that hold nothing else are filled from the trimap at the last step. Earlier steps need every
            pixel, since the noise level is that of the whole image.
    """

    def __init__(
        self,
        decoder: DiffusionDecoder,
        features: Tensor,
        image: Tensor,
        classes: Tensor,
        tile_px: int | None = None,
        free_classes: Sequence[int] = (),
    ) -> None:
        self._decoder, self._features, self._image, self._classes = decoder, features, image, classes
        self._kept: dict[Box, Constants] = {}
        stride_cells = decoder.feature_stride // CELL_PX
        _, height, _, width = whole_window(image)
        self._cells = height // CELL_PX, width // CELL_PX
        self._halo = halo_cells(decoder)
        side = max(self._cells)
        if tile_px is not None and height * width > tile_px:
            side = math.isqrt(tile_px) // CELL_PX - 2 * self._halo
            side = max(side // stride_cells, 1) * stride_cells
        self._boxes = list(grid(*self._cells, side))
        free = torch.tensor(free_classes, device=classes.device, dtype=torch.uint8)
        self._free = {box for box in self._boxes if torch.isin(self._crop(classes, box.pixels()), free).all()}

    def __call__(self, x: Tensor, t: Tensor, last: bool = False) -> Tensor:
        """Normalised state (B, 1, H, W) at time t (B,) -> clean matte in [-1, 1]; `last` says that no step follows."""
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
