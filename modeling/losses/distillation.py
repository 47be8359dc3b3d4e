"""Feature distillation by a frozen teacher encoder."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backbone.vit import ViT
from ..base import MattingNetwork
from ..distributed import Mean, mean_over_processes


class Distilled(MattingNetwork):
    """Mix-in for routed networks that learn from an unrouted backbone."""

    def expect_teacher(self, backbone: ViT, distill: bool) -> None:
        """Prepare for a teacher.

        Called last in the constructor, since checkpoints list the teacher last.
        """
        if not backbone.routed:
            name = type(self).__name__
            raise ValueError(f"{name} needs a routed backbone: set backbone.routed=True, or use the network without ME")
        self.distill = distill
        self.register_module("teacher_backbone", None)

    def attach_teacher(self, teacher: ViT) -> None:
        """Give the model its frozen teacher; in checkpoints it appears as `teacher_backbone`."""
        self.teacher_backbone = teacher.requires_grad_(False).eval()

    @contextmanager
    def without_teacher(self) -> Iterator[MattingNetwork]:
        """Remove the teacher from the network for the duration of the block."""
        teacher, self.teacher_backbone = self.teacher_backbone, None
        try:
            yield self
        finally:
            self.teacher_backbone = teacher

    @contextmanager
    def undistilled(self) -> Iterator[None]:
        """Run no teacher for the duration of the block."""
        distill, self.distill = self.distill, False
        try:
            yield
        finally:
            self.distill = distill

    def train(self, mode: bool = True) -> "Distilled":
        """Set the mode of everything but the teacher, which stays in evaluation."""
        super().train(mode)
        if self.teacher_backbone is not None:
            self.teacher_backbone.eval()
        return self

    def teacher_features(self, inputs: Tensor) -> Tensor | None:
        """Teacher's features (B, C, h, w) without gradient; None without distillation."""
        if not (self.training and self.distill):
            return None
        if self.teacher_backbone is None:
            raise ValueError("distillation needs a teacher: call attach_teacher, or set model.distill=False")
        with torch.no_grad():
            return self.teacher_backbone(inputs).features


def distillation_loss(
    features: Tensor, teacher_features: Tensor, weights: Tensor | None = None, mean: Mean = mean_over_processes
) -> Tensor:
    """Mean squared difference of (B, C, h, w) features, of tokens weighed by (B, 1, h, w) or alike."""
    if weights is None:
        return F.mse_loss(features.float(), teacher_features.float())
    squares = (features.float() - teacher_features.float()).square()
    return (squares * weights).sum() / (mean(weights.sum()) * features.shape[1])
