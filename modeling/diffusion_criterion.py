"""What DiffMatte and MEDiffMatte are trained on; the total is the sum of the terms."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from modeling.losses import distillation_loss, matting_losses, ratio_loss
from modeling.output import MattingOutput


@dataclass
class DiffMatteCriterion:
    """The five published terms on mattes in [-1, 1]; for a routed backbone also its share of tokens and its features.

    Attributes:
        keep_ratio: wanted share of tokens in global attention; None without routing.
        distill_weight, ratio_weight: weights of the two terms of a routed backbone.
    """

    keep_ratio: float | None = None
    distill_weight: float = 1.0
    ratio_weight: float = 1.0

    def __call__(self, output: MattingOutput, alpha: Tensor, trimap: Tensor) -> dict[str, Tensor]:
        """Losses by name.

        Args:
            output: of `DiffMatte.denoise`.
            alpha: (B, 1, H, W) ground truth in [0, 1].
            trimap: (B, 1, H, W) of 0, 0.5, 1.
        """
        estimate, target = 2 * output.alpha.float() - 1, 2 * alpha - 1
        losses = {"mse_loss": F.mse_loss(estimate, target)}
        losses |= matting_losses(estimate, target, (trimap == 0.5).to(alpha.dtype))
        if output.teacher_features is not None:
            losses["distill_loss"] = self.distill_weight * distillation_loss(output.features, output.teacher_features)
        if self.keep_ratio is not None:
            losses["mse_ratio_loss"] = self.ratio_weight * ratio_loss(output.keep, self.keep_ratio)
        return losses
