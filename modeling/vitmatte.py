"""ViTMatte: plain ViT with a detail-capture decoder; the base of MEMatte."""

import torch
from torch import Tensor

from .backbone.vit import ViT
from .base import Encoding, MattingNetwork, MattingOutput
from .decoder.detail_capture import DetailCapture
from .inputs import model_input, whole_window
from .prior import closed_form_prior


class ViTMatte(MattingNetwork):
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
        return self.decode(self.backbone(inputs), inputs, image)

    def padded_input(self, image: Tensor, trimap: Tensor) -> Tensor:
        """(B, 4 or 5, H', W') by the published padding rule."""
        guide = trimap
        if self.prior:
            levels = ((values * 255).round().to(torch.uint8) for values in (image, trimap))
            guide = torch.cat([trimap, closed_form_prior(*levels) / 255], dim=1)
        return model_input(image, guide, whole_window(image))

    def guide(self, image: Tensor, trimap: Tensor) -> Tensor:
        """Channels beside the image, (B, 1 or 2, H, W) uint8: trimap, prior."""
        return torch.cat([trimap, closed_form_prior(image, trimap)], dim=1) if self.prior else trimap

    def decode(self, encoding: Encoding, inputs: Tensor, image: Tensor) -> MattingOutput:
        """Result for the image, from its encoding and the padded inputs."""
        alpha = self.decoder(encoding.features, inputs)[..., : image.shape[-2], : image.shape[-1]]
        return MattingOutput(alpha, encoding.features, encoding.keep, encoding.router_logp, encoding.policy)

    @property
    def encoder_depth(self) -> int | None:
        return self.backbone.depth
