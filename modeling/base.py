"""What every network returns, in training and in evaluation."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class MattingOutput:
    """Result of one forward pass.

    Attributes:
        alpha: (B, 1, H, W) in [0, 1]; known trimap regions are not enforced here.
        features: (B, C, h, w) encoder output, or None where it was not kept.
        keep: per routed block (B, h, w): bool decisions in evaluation, straight-through 0/1 policy in training.
        router_logp: per routed block (B, h, w, 2) log-probabilities; class 0 is "keep in global attention".
        teacher_features: (B, C, h, w) of the frozen teacher, in training with distillation only.
    """

    alpha: Tensor
    features: Tensor | None = None
    keep: list[Tensor] = field(default_factory=list)
    router_logp: list[Tensor] = field(default_factory=list)
    teacher_features: Tensor | None = None
