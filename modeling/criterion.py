"""Training criteria: which terms a network's output is held to, by their published names; the total is their sum."""

from dataclasses import dataclass

from torch import Tensor

from modeling.losses import distillation_loss, matting_losses, ratio_loss
from modeling.output import MattingOutput

UNKNOWN = 0.5  # of a training trimap, which is exactly 0, 0.5 or 1


def training_trimap(trimap: Tensor) -> Tensor:
    """(B, 1, H, W) of 0..255 -> float of exactly 0, 0.5 and 1 (the published thresholds)."""
    trimap = trimap.float()
    return (trimap >= 85).float().add_(trimap >= 170).mul_(UNKNOWN)


@dataclass
class ViTMatteCriterion:
    """The four matting terms."""

    def __call__(self, output: MattingOutput, alpha: Tensor, trimap: Tensor) -> dict[str, Tensor]:
        """Losses by name.

        Args:
            output: of a network in training mode.
            alpha: (B, 1, H, W) ground truth in [0, 1].
            trimap: (B, 1, H, W) of 0, 0.5, 1.
        """
        return matting_losses(output.alpha.float(), alpha, (trimap == UNKNOWN).to(alpha.dtype))


@dataclass
class MEMatteCriterion(ViTMatteCriterion):
    """The four matting terms, the share of routed tokens (BATR), and, where there is a teacher, its features.

    Attributes:
        keep_ratio: wanted share of tokens in global attention, over all routed blocks and the batch.
        distill_weight, ratio_weight: weights of the two terms.
    """

    keep_ratio: float = 0.25
    distill_weight: float = 1.0
    ratio_weight: float = 1.0

    def __call__(self, output: MattingOutput, alpha: Tensor, trimap: Tensor) -> dict[str, Tensor]:
        losses = super().__call__(output, alpha, trimap)
        if output.teacher_features is not None:
            losses["distill_loss"] = self.distill_weight * distillation_loss(output.features, output.teacher_features)
        losses["mse_ratio_loss"] = self.ratio_weight * ratio_loss(output.keep, self.keep_ratio)
        return losses
