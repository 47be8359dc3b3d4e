"""A frozen teacher encoder beside a network that is trained to match its features."""

import torch
from torch import Tensor, nn

from ..backbone.vit import ViT


class Distilled(nn.Module):
    """Mix-in for networks with a routed backbone that learn from an unrouted one.

    Attributes:
        distill: whether training needs the teacher.
    """

    distill: bool

    def expect_teacher(self, backbone: ViT, distill: bool) -> None:
        """To be called by the constructor, last: in checkpoints the teacher comes after the network."""
        if not backbone.routed:
            name = type(self).__name__
            raise ValueError(f"{name} needs a routed backbone: set backbone.routed=True, or use the network without ME")
        self.distill = distill
        self.register_module("teacher_backbone", None)

    def attach_teacher(self, teacher: ViT) -> None:
        """Give the model its frozen teacher; in checkpoints it appears as `teacher_backbone`."""
        self.teacher_backbone = teacher.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Distilled":
        """Set the mode of everything but the teacher, which stays in evaluation."""
        super().train(mode)
        if self.teacher_backbone is not None:
            self.teacher_backbone.eval()
        return self

    def teacher_features(self, inputs: Tensor) -> Tensor | None:
        """Features of the encoder's inputs (B, C, h, w), without gradient; None where nothing is to be distilled."""
        if not (self.training and self.distill):
            return None
        if self.teacher_backbone is None:
            raise ValueError("distillation needs a teacher: call attach_teacher, or set model.distill=False")
        with torch.no_grad():
            return self.teacher_backbone(inputs).features
