"""MEDiffMatte: DiffMatte with MEMatte's routed backbone, distilled from DiffMatte's frozen ViT.

Routing bounds the memory and the time of the encoder, tiles those of the decoder, so that diffusion matting reaches
ultra-high resolution.
"""

from typing import Any

from torch import Tensor

from .backbone.vit import ViT
from .base import Distilled, MattingOutput
from .decoder.diffusion_decoder import DiffusionDecoder
from .diffmatte import DiffMatte
from .diffusion import Stage
from .inputs import trimap_classes


class MEDiffMatte(Distilled, DiffMatte):
    """Memory-efficient diffusion matting.

    Args:
        backbone: a routed ViT.
        decoder, options: as in DiffMatte.
        distill: training compares features with a teacher, which `attach_teacher` brings; False trains without one.
    """

    def __init__(self, backbone: ViT, decoder: DiffusionDecoder, distill: bool = True, **options: Any) -> None:
        super().__init__(backbone, decoder, **options)
        self.expect_teacher(backbone, distill)

    def denoise(self, image: Tensor, trimap: Tensor, alpha: Tensor, stage: Stage, **randomness: Any) -> MattingOutput:
        """As DiffMatte's, with the features of the teacher."""
        output = super().denoise(image, trimap, alpha, stage, **randomness)
        output.teacher_features = self.teacher_features(self.encoder_input(image, trimap_classes(trimap)))
        return output
