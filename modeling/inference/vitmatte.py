"""ViTMatte and MEMatte on large images: bounded encoder, tiled decoder.

Tiles lie around unknown pixels.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from ..base import Encoding, MattingOutput
from ..inputs import model_input, published_size
from ..prior import prior_cost
from ..tiles import HALO_CELLS, Box, cover, unknown_cells
from ..vitmatte import ViTMatte
from . import detail_capture, vit
from .budget import ENCODED, Limits


def matte(network: ViTMatte, image: Tensor, trimap: Tensor, limits: Limits, name: str = "") -> MattingOutput:
    """Alpha, decoded only around unknown pixels and 0 elsewhere; see `executors.matte`."""
    guide = network.guide(image, trimap)
    encoding = vit.encode(network.backbone, image, guide, limits)
    height, width = encoding.tokens.shape[1:3]
    boxes = limits.watch(cover(unknown_cells(trimap, height, width), limits.tile_px), ENCODED, 1)
    alpha = decode_boxes(network, encoding, image, guide, boxes)
    return MattingOutput(alpha, None, encoding.keep, encoding.router_logp)


def memory_cost(network: ViTMatte, height: int, width: int, limits: Limits) -> int:
    """Upper estimate in bytes of what `matte` takes; see `executors.memory_cost`."""
    backbone = network.backbone
    rows, cols = (side // backbone.patch_size for side in published_size(height, width))
    tokens = 4 * backbone.embed_dim * rows * cols
    tile_px = min(limits.tile_px, rows * cols * backbone.patch_size**2)
    masks = 6 * height * width  # alpha in float32, two masks
    decoding = tokens + detail_capture.memory_cost(network.decoder, tile_px) + masks
    taken = max(vit.memory_cost(backbone, rows, cols, limits), decoding)
    return max(taken + height * width, prior_cost(height, width)) if network.prior else taken


def decode_boxes(network: ViTMatte, encoding: Encoding, image: Tensor, guide: Tensor, boxes: Iterable[Box]) -> Tensor:
    """Alpha (B, 1, H, W), exact inside `boxes` and 0 elsewhere.

    `guide` is that of the network.
    """
    alpha = torch.zeros_like(guide[:, :1], dtype=torch.float32)
    height, width = encoding.tokens.shape[1:3]
    for box in boxes:
        outer = box.grown(HALO_CELLS, height, width)
        features = encoding.features[..., outer.top : outer.bottom, outer.left : outer.right]
        cut = (outer.top > 0, outer.bottom < height, outer.left > 0, outer.right < width)
        inputs = model_input(image, guide, outer.pixels())
        tile = detail_capture.decode_tile(network.decoder, features, inputs, cut)
        top, bottom, left, right = box.pixels()
        target = alpha[..., top:bottom, left:right]  # ends at the image border
        rows, cols = (0 if cut[0] else top), (0 if cut[2] else left)  # at a border the tile begins there
        target.copy_(tile[..., rows : rows + target.shape[-2], cols : cols + target.shape[-1]])
    return alpha
