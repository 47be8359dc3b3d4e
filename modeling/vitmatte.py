"""ViTMatte: a plain ViT with a detail-capture decoder; also the frame that MEMatte extends."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .backbone.vit import Encoding, ViT
from .base import MattingOutput
from .decoder.detail_capture import DetailCapture
from .inference.budget import Limits
from .inference.prior import closed_form_prior, prior_cost
from .inference.strips import row_strips, rows_within
from .inference.tiles import HALO_CELLS, Box, cover, unknown_cells
from .inputs import model_input, published_size


class ViTMatte(nn.Module):
    """Alpha from an image and its trimap.

    Args:
        backbone: encoder at 1/16 resolution.
        decoder: from features and the padded input to alpha.
        prior: the input has a fifth channel, the closed-form alpha; published networks have none.
    """

    def __init__(self, backbone: ViT, decoder: DetailCapture, prior: bool = False) -> None:
        super().__init__()
        self.prior = prior
        self.backbone = backbone
        self.decoder = decoder

    def forward(self, image: Tensor, trimap: Tensor) -> MattingOutput:
        """Whole-image pass.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
            trimap: (B, 1, H, W) in [0, 1]; known regions are not enforced on the result.
        """
        inputs = self.padded_input(image, trimap)
        return self._output(self.backbone(inputs), inputs, image)

    def padded_input(self, image: Tensor, trimap: Tensor) -> Tensor:
        """(B, 4 or 5, H', W') by the published padding rule."""
        height, width = published_size(*image.shape[-2:])
        guide = trimap
        if self.prior:
            levels = ((values * 255).round().to(torch.uint8) for values in (image, trimap))
            guide = torch.cat([trimap, closed_form_prior(*levels) / 255], dim=1)
        return model_input(image, guide, (0, height, 0, width))

    def guide(self, image: Tensor, trimap: Tensor) -> Tensor:
        """Channels beside the image, (B, 1 or 2, H, W) uint8: the trimap, and the prior of networks with one."""
        return torch.cat([trimap, closed_form_prior(image, trimap)], dim=1) if self.prior else trimap

    def _output(self, encoding: Encoding, inputs: Tensor, image: Tensor) -> MattingOutput:
        alpha = self.decoder(encoding.features, inputs)[..., : image.shape[-2], : image.shape[-1]]
        return MattingOutput(alpha, encoding.features, encoding.keep, encoding.router_logp)

    @torch.inference_mode()
    def matte(self, image: Tensor, trimap: Tensor, limits: Limits) -> MattingOutput:
        """The same on large images, within `limits`; alpha is decoded only around what is unknown, and 0 elsewhere.

        Args:
            image: (B, 3, H, W) uint8 RGB.
            trimap: (B, 1, H, W) uint8 of 0, 128, 255.
        """
        guide = self.guide(image, trimap)
        encoding = self.encode(image, guide, limits)
        height, width = encoding.tokens.shape[1:3]
        boxes = cover(unknown_cells(trimap, height, width), limits.tile_px)
        alpha = self.decode_boxes(encoding, image, guide, boxes)
        return MattingOutput(alpha, None, encoding.keep, encoding.router_logp)

    def memory_cost(self, height: int, width: int, limits: Limits) -> int:
        """Upper estimate in bytes of what `matte` takes for an image of height x width pixels, beside its inputs."""
        rows, cols = (side // self.backbone.patch_size for side in published_size(height, width))
        tokens = 4 * self.backbone.embed_dim * rows * cols
        tile_px = min(limits.tile_px, rows * cols * self.backbone.patch_size**2)
        decoding = tokens + self.decoder.memory_cost(tile_px) + 6 * height * width  # alpha in float32, two masks
        network = max(self.backbone.memory_cost(rows, cols, limits), decoding)
        return max(network + height * width, prior_cost(height, width)) if self.prior else network

    def encode(self, image: Tensor, guide: Tensor, limits: Limits) -> Encoding:
        """Backbone of (B, 3, H, W) and (B, 1 or 2, H, W)."""
        return encode_within(self.backbone, image, guide, limits)

    def decode_boxes(self, encoding: Encoding, image: Tensor, guide: Tensor, boxes: Iterable[Box]) -> Tensor:
        """Alpha (B, 1, H, W), exact inside `boxes` and 0 elsewhere."""
        alpha = torch.zeros_like(guide[:, :1], dtype=torch.float32)
        height, width = encoding.tokens.shape[1:3]
        for box in boxes:
            outer = box.grown(HALO_CELLS, height, width)
            features = encoding.features[..., outer.top : outer.bottom, outer.left : outer.right]
            cut = (outer.top > 0, outer.bottom < height, outer.left > 0, outer.right < width)
            tile = self.decoder(features, model_input(image, guide, outer.pixels()), cut)
            top, bottom, left, right = box.pixels()
            target = alpha[..., top:bottom, left:right]  # ends at the image border
            rows, cols = (0 if cut[0] else top), (0 if cut[2] else left)  # at a border the tile begins there
            target.copy_(tile[..., rows : rows + target.shape[-2], cols : cols + target.shape[-1]])
        return alpha


def encode_within(backbone: ViT, image: Tensor, guide: Tensor, limits: Limits) -> Encoding:
    """Encode (B, 3, H, W) and (B, 1 or 2, H, W); the float input exists a few rows of patches at a time."""
    height, width = published_size(*image.shape[-2:])
    patch = backbone.patch_size
    tokens = torch.empty(len(image), height // patch, width // patch, backbone.embed_dim, device=image.device)
    for strip in row_strips(height // patch, rows_within(width // patch, limits.chunk_tokens)):
        window = (strip.start * patch, strip.stop * patch, 0, width)
        tokens[:, strip.start : strip.stop] = backbone.embed(model_input(image, guide, window))
    return backbone.infer_(tokens, limits)
