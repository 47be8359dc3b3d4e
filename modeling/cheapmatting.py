"""CheapMatting: searched cells, pyramid pooling and a light decoder, 6 M parameters.

Attribute names follow the published checkpoints; the layers themselves follow a functional description of the network.
"""

import torch
from torch import Tensor, nn

from .backbone.cells import NODES, Cell
from .decoder.blocks import Bottleneck, PyramidPooling, double
from .onehot import OneHotNetwork

NUM_CELLS = 14
REDUCTIONS = (4, 9)  # cells that halve the resolution and double the channels
SKIPS = (3, 8, 13)  # cells whose output the decoder reads
GROUPS = 8


def make_cells(stem_dim: int = 48) -> nn.ModuleList:
    """Encoder cells, each reading the outputs of the two before it.

    The first two read the stems (1/4 and 1/8).
    """
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


class CheapMatting(OneHotNetwork):
    """Alpha from an image and its trimap."""

    min_side_px = 96  # the largest pooling window needs 3 cells of 32 px

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

    def raw_alpha(self, inputs: Tensor) -> Tensor:
        """(B, 6, H, W) -> (B, 1, H, W); see `OneHotNetwork.raw_alpha`."""
        return self.pred(torch.cat([double(self.half_features(inputs)), inputs], dim=1))

    def half_features(self, inputs: Tensor) -> Tensor:
        """Everything but the full-resolution head: (B, 6, H, W) -> (B, 32, H/2, W/2)."""
        half = self.stem00(inputs)
        quarter = self.stem05(half)
        skips = self._encode(quarter)
        deepest = skips.pop()
        x = torch.cat([self.ppm(deepest), deepest], dim=1)
        layers = (self.decoder_layer3, self.decoder_layer2, self.decoder_layer1, self.decoder_layer0)
        for layer, skip in zip(layers, [*reversed(skips), quarter, half], strict=True):
            x = layer(torch.cat([double(x), skip], dim=1))
        return x

    def _encode(self, quarter: Tensor) -> list[Tensor]:
        """Cell outputs in SKIPS: 192, 384, 768 channels at 1/8, 1/16, 1/32."""
        older, newer = quarter, self.stem10(quarter)
        skips = []
        for i, cell in enumerate(self.cells):
            older, newer = newer, cell(older, newer)
            if i in SKIPS:
                skips.append(newer)
        return skips
