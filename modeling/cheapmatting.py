"""CheapMatting: an encoder of searched cells, pyramid pooling, a light decoder; about 6 million parameters.

Attribute names follow the published checkpoints; the layers themselves follow a functional description of the network.
"""

import torch
from torch import Tensor, nn

from .backbone.cells import NODES, Cell
from .base import MattingOutput
from .decoder.bottleneck import Bottleneck
from .decoder.pyramid_pooling import PyramidPooling
from .decoder.upsample import double, double_rows, map_strips
from .inference.budget import Limits
from .inference.strips import Strip, rows_within
from .onehot import clamp_alpha, crop, mirrored_input, one_hot_trimap

NUM_CELLS = 14
REDUCTIONS = (4, 9)  # cells that halve the resolution and double the channels
SKIPS = (3, 8, 13)  # cells whose output the decoder reads
GROUPS = 8
MIN_SIDE_PX = 96  # the largest pooling window needs 3 cells of 32 px
_HEAD_HALO = 2

# Cost model, float32: what the last decoder layer holds per pixel of the image (the input, its own input and output at
# 1/2), what the head holds per pixel of a strip, and what convolutions prepare once.
_BYTES_OF_PIXEL, _BYTES_OF_STRIP = 4 * (6 + (64 + 2 * 88 + 32) / 4), 4 * (2 * 38 + 32 + 3 * 24)
_FIXED_BYTES = 250_000_000


def make_cells(stem_dim: int = 48) -> nn.ModuleList:
    """The encoder's cells, each reading the two outputs before it; the first two read the stems (1/4 and 1/8)."""
    cells = nn.ModuleList()
    dims, halvings = [stem_dim, stem_dim], [-1, 0]  # of the last two outputs
    dim = stem_dim
    for i in range(NUM_CELLS):
        reduction = i in REDUCTIONS
        dim = 2 * dim if reduction else dim
        cells.append(Cell(dims[-2], dims[-1], dim, reduction, older_is_larger=halvings[-2] < halvings[-1]))
        dims.append(NODES * dim)
        halvings.append(halvings[-1] + reduction)
    return cells


def decoder_layer(in_chans: int, dim: int, hidden: int) -> nn.Sequential:
    """Merge by a pointwise convolution, then refine."""
    return nn.Sequential(nn.Conv2d(in_chans, dim, 1), Bottleneck(dim, hidden, GROUPS), Bottleneck(dim, hidden, GROUPS))


class CheapMatting(nn.Module):
    """Alpha from an image and its trimap."""

    def __init__(self) -> None:
        super().__init__()
        self.stem00 = nn.Sequential(
            nn.Conv2d(6, 24, 3, stride=2, padding=1), nn.PReLU(24), nn.Conv2d(24, 24, 3, padding=1), nn.PReLU(24)
        )
        self.stem05 = nn.Sequential(
            nn.Conv2d(24, 48, 3, stride=2, padding=1), Bottleneck(48, 32, GROUPS), Bottleneck(48, 32, GROUPS)
        )
        self.stem10 = nn.Sequential(nn.Conv2d(48, 48, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(48))
        self.cells = make_cells()
        self.ppm = PyramidPooling(768, 128, 256)
        self.decoder_layer3 = decoder_layer(256 + 768 + 384, 128, 64)
        self.decoder_layer2 = decoder_layer(128 + 192, 128, 64)
        self.decoder_layer1 = decoder_layer(128 + 48, 64, 32)
        self.decoder_layer0 = decoder_layer(64 + 24, 32, 24)
        self.pred = nn.Sequential(
            *(nn.Conv2d(32 + 6, 24, 3, padding=1), nn.PReLU(24)),
            *(nn.Conv2d(24, 16, 3, padding=1), nn.PReLU(16)),
            nn.Conv2d(16, 1, 1),
        )

    def forward(self, image: Tensor, trimap: Tensor) -> MattingOutput:
        """Whole-image pass.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
            trimap: (B, 1, H, W) in [0, 1]; known regions are not enforced on the result.
        """
        inputs, origin = mirrored_input(image, trimap, MIN_SIDE_PX)
        raw = crop(self.raw_alpha(inputs), origin, image.shape[-2:])
        return MattingOutput(clamp_alpha(raw, self.training))

    @torch.inference_mode()
    def matte(self, image: Tensor, trimap: Tensor, limits: Limits) -> MattingOutput:
        """The same on one large image, the full-resolution head in strips and only where pixels are unknown.

        Args:
            image: (1, 3, H, W) uint8 RGB.
            trimap: (1, 1, H, W) uint8 of 0, 128, 255.
        """
        unknown = one_hot_trimap(trimap)[:, 1:2]
        if not unknown.any():
            return MattingOutput(torch.zeros_like(unknown))
        inputs, origin = mirrored_input(image, trimap, MIN_SIDE_PX)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        raw = crop(self.raw_alpha(inputs, limits), origin, image.shape[-2:])
        return MattingOutput(clamp_alpha(raw.float(), training=False))

    def memory_cost(self, height: int, width: int, limits: Limits) -> int:
        """Upper estimate in bytes of what `matte` takes for an image of height x width pixels, beside its inputs."""
        height, width = (max(side + -side % 32, MIN_SIDE_PX) for side in (height, width))
        strip_px = min(max(limits.tile_px, 32 * width), height * width)
        return int(_FIXED_BYTES + _BYTES_OF_PIXEL * height * width + _BYTES_OF_STRIP * strip_px)

    def raw_alpha(self, inputs: Tensor, limits: Limits | None = None) -> Tensor:
        """Unclamped alpha of a padded input.

        Args:
            inputs: (B, 6, H, W): RGB and one-hot trimap; sides are multiples of 32 and at least MIN_SIDE_PX.
            limits: with limits the head works strip by strip and leaves strips without an unknown pixel 0.

        Returns:
            (B, 1, H, W).
        """
        half = self.stem00(inputs)
        quarter = self.stem05(half)
        skips = self._encode(quarter)
        deepest = skips.pop()
        x = torch.cat([self.ppm(deepest), deepest], dim=1)
        layers = (self.decoder_layer3, self.decoder_layer2, self.decoder_layer1, self.decoder_layer0)
        for layer, skip in zip(layers, [*reversed(skips), quarter, half], strict=True):
            x = layer(torch.cat([double(x), skip], dim=1))
        del skips, quarter, half, skip
        return self._head(inputs, x, limits)

    def _encode(self, quarter: Tensor) -> list[Tensor]:
        """Outputs of the cells in SKIPS: 192, 384 and 768 channels at 1/8, 1/16 and 1/32."""
        older, newer = quarter, self.stem10(quarter)
        skips = []
        for i, cell in enumerate(self.cells):
            older, newer = newer, cell(older, newer)
            if i in SKIPS:
                skips.append(newer)
        return skips

    def _head(self, inputs: Tensor, x: Tensor, limits: Limits | None) -> Tensor:
        height, width = inputs.shape[2:]
        rows = height if limits is None else rows_within(width, limits.tile_px, multiple=32)
        wanted = None if limits is None else inputs[:, 4].amax(dim=(0, 2)) > 0  # (H,)

        def strip_of(strip: Strip) -> Tensor:
            first, last = strip.first, strip.last
            return self.pred(torch.cat([double_rows(x, first, last), inputs[:, :, first:last]], dim=1))

        return map_strips(strip_of, height, rows, _HEAD_HALO, wanted)
