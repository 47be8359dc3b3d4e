"""MEMatte: ViTMatte with a routed backbone, distilled from a frozen ViTMatte teacher."""

from collections.abc import Sequence

import torch
from torch import Tensor

from modeling.backbone.vit import ViT
from modeling.decoder.detail_capture import DetailCapture
from modeling.output import MattingOutput
from modeling.vitmatte import ViTMatte


class MEMatte(ViTMatte):
    """Memory-efficient matting.

    Args:
        backbone: a routed ViT.
        decoder: as in ViTMatte.
        distill: training compares features with a teacher, which `attach_teacher` brings; False trains without one.
    """

    def __init__(self, backbone: ViT, decoder: DetailCapture, distill: bool = True) -> None:
        super().__init__(backbone, decoder)
        if not backbone.routed:
            raise ValueError("MEMatte needs a routed backbone: set backbone.routed=True, or use ViTMatte")
        self.distill = distill
        self.register_module("teacher_backbone", None)

    def attach_teacher(self, teacher: ViT) -> None:
        """Give the model its frozen teacher; in checkpoints it appears as `teacher_backbone`."""
        self.teacher_backbone = teacher.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "MEMatte":
        """Set the mode of everything but the teacher, which stays in evaluation."""
        super().train(mode)
        if self.teacher_backbone is not None:
            self.teacher_backbone.eval()
        return self

    def forward(self, image: Tensor, trimap: Tensor, gumbel_noise: Sequence[Tensor] | None = None) -> MattingOutput:
        """As ViTMatte's; in training `gumbel_noise` (per routed block (B, h*w, 2)) replaces the sampled noise."""
        inputs = self.padded_input(image, trimap)
        output = self._output(self.backbone(inputs, gumbel_noise), inputs, image)
        if self.training and self.distill:
            if self.teacher_backbone is None:
                raise ValueError("distillation needs a teacher: call attach_teacher, or set model.distill=False")
            with torch.no_grad():
                output.teacher_features = self.teacher_backbone(inputs).features
        return output
