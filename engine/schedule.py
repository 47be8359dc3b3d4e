"""From images, batch and epochs to iterations and the learning-rate multiplier."""

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
