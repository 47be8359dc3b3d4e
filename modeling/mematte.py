"""MEMatte: ViTMatte with a routed backbone, distilled from a frozen ViTMatte teacher."""

from collections.abc import Sequence

from torch import Tensor

from .backbone.vit import ViT
from .base import Distilled, MattingOutput
from .decoder.detail_capture import DetailCapture
from .vitmatte import ViTMatte


class MEMatte(Distilled, ViTMatte):
    """Memory-efficient matting.

    Args:
        backbone: a routed ViT.
        decoder, prior: as in ViTMatte.
        distill: training compares features with a teacher, which `attach_teacher` brings; False trains without one.
    """

    def __init__(self, backbone: ViT, decoder: DetailCapture, distill: bool = True, prior: bool = False) -> None:
        super().__init__(backbone, decoder, prior)
        self.expect_teacher(backbone, distill)

    def forward(self, image: Tensor, trimap: Tensor, gumbel_noise: Sequence[Tensor] | None = None) -> MattingOutput:
        """As ViTMatte's; in training `gumbel_noise` (per routed block (B, h*w, 2)) replaces the sampled noise."""
        inputs = self.padded_input(image, trimap)
        output = self.decode(self.backbone(inputs, gumbel_noise), inputs, image)
        output.teacher_features = self.teacher_features(inputs)
        return output
