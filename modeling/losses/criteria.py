"""Training criteria: loss terms by published names, whose sum is the total."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..base import MattingOutput
from ..inputs import UNKNOWN, unknown_mask
from .terms import (
    Mean,
    band_loss,
    distillation_loss,
    masked_divergence,
    matting_losses,
    mean_over_processes,
    ratio_loss,
    unknown_l1,
)


@dataclass
class ViTMatteCriterion:
    """The four matting terms.

    Attributes:
        gradient_weight: of the gradient penalty. The published 1 makes it outweigh all others by far; a network that
            starts from random weights then learns to stay flat first, where a pretrained one does not.
        divergence_weight: of a term that is not among the published four, for decoders with `residual`.
    """

    reads_policy: ClassVar[bool] = False  # means over the batch depend on the routing, not on the trimaps alone
    gradient_weight: float = 1.0
    divergence_weight: float = 0.0

    def __call__(
        self, output: MattingOutput, alpha: Tensor, trimap: Tensor, mean: Mean = mean_over_processes
    ) -> dict[str, Tensor]:
        """Losses by name.

        Args:
            output: of a network in training mode.
            alpha: (B, 1, H, W) ground truth in [0, 1].
            trimap: (B, 1, H, W) of 0, 0.5, 1.
            mean: over the whole batch, of which these may be a part; always asked for the same figures in one order.
        """
        estimate, unknown = output.alpha.float(), unknown_mask(trimap)
        losses = matting_losses(estimate, alpha, unknown, mean)
        losses["loss_gradient_penalty"] = self.gradient_weight * losses["loss_gradient_penalty"]
        if self.divergence_weight:
            divergence = masked_divergence(estimate, alpha, unknown, mean)
            losses["unknown_divergence_loss"] = self.divergence_weight * divergence
        return losses


@dataclass
class DiffMatteCriterion:
    """Mean squared error and four matting terms, on mattes in [-1, 1]."""

    reads_policy: ClassVar[bool] = False

    def __call__(
        self, output: MattingOutput, alpha: Tensor, trimap: Tensor, mean: Mean = mean_over_processes
    ) -> dict[str, Tensor]:
        estimate, target = 2 * output.alpha.float() - 1, 2 * alpha - 1
        losses = {"mse_loss": F.mse_loss(estimate, target)}
        return losses | matting_losses(estimate, target, unknown_mask(trimap), mean)


@dataclass
class RoutedCriterion:
    """Routing losses: kept-token ratio (BATR) and, with a teacher, feature distillation.

    Attributes:
        keep_ratio: wanted share of tokens in global attention, over all routed blocks and the batch.
        per_block: hold each block to that share (over the batch) instead of their mean, as published. In a small
            network one block may otherwise take all tokens, and the others none.
        distill_weight, ratio_weight: weights of the two terms.
        distill_known_weight: of tokens without unknown pixels within the distillation, where those with have 1. Alike,
            as published, they attract attention where it changes features, whether or not the matte depends on these.
    """

    reads_policy: ClassVar[bool] = True
    keep_ratio: float = 0.25
    distill_weight: float = 1.0
    ratio_weight: float = 1.0
    distill_known_weight: float = 1.0
    per_block: bool = False

    def __call__(
        self, output: MattingOutput, alpha: Tensor, trimap: Tensor, mean: Mean = mean_over_processes
    ) -> dict[str, Tensor]:
        losses = super().__call__(output, alpha, trimap, mean)
        if output.teacher_features is not None:
            weights = None if self.distill_known_weight == 1 else self._token_weights(unknown_mask(trimap), output)
            distance = distillation_loss(output.features, output.teacher_features, weights, mean)
            losses["distill_loss"] = self.distill_weight * distance
        held = [[policy] for policy in output.policy] if self.per_block else [output.policy]
        distances = [ratio_loss(policies, self.keep_ratio, mean) for policies in held]
        losses["mse_ratio_loss"] = self.ratio_weight * sum(distances) / len(distances)
        return losses

    def _token_weights(self, unknown: Tensor, output: MattingOutput) -> Tensor:
        """(B, 1, H, W) -> (B, 1, h, w)."""
        touched = F.adaptive_max_pool2d(unknown, output.features.shape[-2:])
        return self.distill_known_weight + (1 - self.distill_known_weight) * touched


@dataclass
class MEMatteCriterion(RoutedCriterion, ViTMatteCriterion):
    """The four matting terms and those of the routed backbone."""


@dataclass
class MEDiffMatteCriterion(RoutedCriterion, DiffMatteCriterion):
    """DiffMatte's five terms and those of the routed backbone."""


@dataclass
class AEMatterCriterion:
    """Absolute difference overall, in the unknown region and per frequency band.

    All in float32.

    The known region of the alpha is taken from the trimap first, as at inference. CheapMatting's own criterion was
    never published; this one serves both.

    Attributes:
        weight: of each term.
    """

    reads_policy: ClassVar[bool] = False
    weight: float = 0.5

    def __call__(
        self, output: MattingOutput, alpha: Tensor, trimap: Tensor, mean: Mean = mean_over_processes
    ) -> dict[str, Tensor]:
        unknown, target = unknown_mask(trimap), alpha.float()
        with torch.autocast(alpha.device.type, enabled=False):
            predicted = output.alpha.float() * unknown + (trimap > UNKNOWN).float()
            return {
                "l1_loss": self.weight * (predicted - target).abs().mean(),
                "unknown_l1_loss": self.weight * unknown_l1(predicted, target, unknown),
                "laplacian_loss": self.weight * band_loss(predicted, target),
            }
