"""The contract of encoders and networks, and the results that they return."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


@dataclass
class Encoding:
    """Result of an encoder; `keep`, `router_logp` and `policy` as in `MattingOutput`."""

    tokens: Tensor  # (B, h, w, C)
    keep: list[Tensor] = field(default_factory=list)
    router_logp: list[Tensor] = field(default_factory=list)
    policy: list[Tensor] = field(default_factory=list)

    @property
    def features(self) -> Tensor:
        """(B, C, h, w) view of the tokens (channels-last in memory)."""
        return self.tokens.permute(0, 3, 1, 2)


@dataclass
class MattingOutput:
    """Result of one forward pass, in training and in evaluation.

    Attributes:
        alpha: (B, 1, H, W) in [0, 1]; known trimap regions are not enforced here.
        features: (B, C, h, w) encoder output, or None where it was not kept.
        keep: per routed block the bool decisions (B, h, w), True for global attention.
        router_logp: per routed block (B, h, w, 2) log-probabilities; class 0 is "keep in global attention".
        policy: per routed block (B, h, w), `keep` as 0 and 1 with straight-through gradients; empty in evaluation.
        teacher_features: (B, C, h, w) of the frozen teacher; None without distillation and in evaluation.
    """

    alpha: Tensor
    features: Tensor | None = None
    keep: list[Tensor] = field(default_factory=list)
    router_logp: list[Tensor] = field(default_factory=list)
    policy: list[Tensor] = field(default_factory=list)
    teacher_features: Tensor | None = None


class Recomputing(nn.Module):
    """Module that can recompute its parts instead of storing activations.

    `MattingNetwork.checkpoint_activations` sets the switch of all of them.
    """

    recompute: bool = False

    def apply_part(self, part: nn.Module, *inputs: Any) -> Any:
        """`part(*inputs)`, storing only the inputs where the switch is on.

        Gradients are the same.
        """
        if not (self.recompute and self.training):
            return part(*inputs)
        return checkpoint(
            part, *inputs, use_reentrant=False, context_fn=lambda: (_nothing(), _without_statistics(part))
        )


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _without_statistics(part: nn.Module) -> Iterator[None]:
    """Keep batch norms in training from counting a recomputed batch twice."""
    norms = [module for module in part.modules() if isinstance(module, _BatchNorm) and module.training]
    counted = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None  # what is computed, and stored for it, stays the same
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, counted, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


class Encoder(Recomputing):
    """Base class of encoders: padded inputs (B, in_chans, H, W) to an `Encoding`.

    Attributes:
        reads_classes: the inputs are RGB and three trimap classes (6 channels) rather than RGB and the trimap (4).
        depth: number of blocks whose parameters are called `blocks.<i>.`; None without.
        routed: some blocks send only part of their tokens through attention.
    """

    reads_classes: bool = True
    depth: int | None = None
    routed: bool = False

    def forward(self, inputs: Tensor) -> Encoding:
        raise NotImplementedError


class MattingNetwork(nn.Module):
    """Base class of all networks.

    A subclass defines `forward` on whole tensors. `modeling.inference.executors` runs it on large images in bounded
    memory: by that forward, or by an executor of its own that is listed there.

    Attributes:
        training_inputs: arguments of `forward` beyond image and trimap that training passes by name, of `alpha` (the
            ground truth) and `iteration`.
        published_foreground: the predicted alpha stays in known foreground instead of being set to 1.
        distill: training needs a teacher, see `attach_teacher`.
        bytes_per_pixel: upper estimate of what `forward` takes per pixel of one padded image; read by the executor of
            networks that have none of their own.
    """

    training_inputs: tuple[str, ...] = ()
    published_foreground: bool = False
    distill: bool = False
    bytes_per_pixel: int = 20_000

    def forward(self, image: Tensor, trimap: Tensor, **inputs: Any) -> MattingOutput:
        """Whole-image pass, in training and in evaluation.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
            trimap: (B, 1, H, W) in [0, 1]; known regions are not enforced on the result.
            inputs: those named in `training_inputs`.
        """
        raise NotImplementedError

    @property
    def encoder_depth(self) -> int | None:
        """Number of blocks named `backbone.blocks.<i>.`, or None.

        Learning rates may decay along them.
        """
        return None

    def attach_teacher(self, teacher: Encoder) -> None:
        """Give the network the frozen encoder whose features it learns."""
        raise ValueError(f"{type(self).__name__} learns from no teacher: set model.distill=False")

    @contextmanager
    def without_teacher(self) -> Iterator["MattingNetwork"]:
        """Remove the teacher, if any, for the duration of the block."""
        yield self

    @contextmanager
    def undistilled(self) -> Iterator[None]:
        """Run no teacher, if any, for the duration of the block."""
        yield

    def student_copy(self) -> "MattingNetwork":
        """A deep copy without the teacher, which inference does not need."""
        with self.without_teacher():
            return copy.deepcopy(self)

    def checkpoint_activations(self, enabled: bool = True) -> None:
        """Recompute encoder blocks and decoder in the backward pass.

        Less memory for more time, same gradients.
        """
        for module in self.modules():
            if isinstance(module, Recomputing):
                module.recompute = enabled

    @staticmethod
    def convert_state_dict(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename published weights to the names of this class.

        Raises `CheckpointError` for weights that do not belong to it.
        """
        return state


class Distilled(MattingNetwork):
    """Mix-in for routed networks that learn the features of an unrouted encoder."""

    def expect_teacher(self, backbone: Encoder, distill: bool) -> None:
        """Prepare for a teacher.

        Called last in the constructor, since checkpoints list the teacher last.
        """
        if not backbone.routed:
            name = type(self).__name__
            raise ValueError(f"{name} needs a routed backbone: set backbone.routed=True, or use the network without ME")
        self.distill = distill
        self.register_module("teacher_backbone", None)

    def attach_teacher(self, teacher: Encoder) -> None:
        """Give the model its frozen teacher; in checkpoints it appears as `teacher_backbone`."""
        self.teacher_backbone = teacher.requires_grad_(False).eval()

    @contextmanager
    def without_teacher(self) -> Iterator[MattingNetwork]:
        teacher, self.teacher_backbone = self.teacher_backbone, None
        try:
            yield self
        finally:
            self.teacher_backbone = teacher

    @contextmanager
    def undistilled(self) -> Iterator[None]:
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
