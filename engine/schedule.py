"""From images, batch and epochs to iterations and the learning-rate multiplier."""

import math
from collections.abc import Sequence

from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import MultiStepParamScheduler, ParamScheduler


def iterations(images: int, batch: int, epochs: float) -> int:
    """Whole iterations in so many epochs."""
    return int(images / batch * epochs)


def stepped_multiplier(
    max_iter: int, milestones: Sequence[int], values: Sequence[float], warmup_iters: int, warmup_factor: float
) -> ParamScheduler:
    """Multiplier of the learning rate: linear warm-up, then `values`, changing at `milestones` (iterations).

    Milestones beyond `max_iter` are never reached, so a run may be shortened without another change.
    """
    reached = [milestone for milestone in milestones if milestone < max_iter]
    steps = MultiStepParamScheduler(list(values)[: len(reached) + 1], num_updates=max_iter, milestones=reached)
    return WarmupParamScheduler(steps, warmup_factor, min(warmup_iters / max_iter, 1.0))


class CosineByEpoch(ParamScheduler):
    """Multiplier of the learning rate: from 1 towards 0 along half a cosine, constant within each epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def __call__(self, where: float) -> float:
        """`where`: share of the run that is done, in [0, 1)."""
        epoch = math.floor(where * self.epochs + 1e-9)  # against the rounding of whole epochs
        return (1 + math.cos(math.pi * epoch / self.epochs)) / 2
