"""Iterations and learning-rate multipliers from images, batch size and epochs."""

import math
from collections.abc import Sequence

from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    CosineParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
)

LONGEST_WARMUP = 0.2  # share of a run under `warm_stable_decay`


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


def warm_stable_decay(max_iter: int, warmup_iters: int, decay_share: float) -> ParamScheduler:
    """Rate multiplier: linear warm-up, 1, half a cosine to 0.

    The cosine takes the last `decay_share`. The warm-up takes at most a fifth of the run: a run of fewer iterations
    would otherwise end within it, having learnt nothing.

    A run may be lengthened before its decay begins, by resuming it with a larger `train.max_iter`.
    """
    if not 0 < decay_share < 1:
        raise ValueError(f"decay_share is {decay_share}; it must be between 0 and 1")
    parts = [ConstantParamScheduler(1.0), CosineParamScheduler(1.0, 0.0)]
    stable = CompositeParamScheduler(parts, [1 - decay_share, decay_share], ["fixed", "rescaled"])
    return WarmupParamScheduler(stable, 0.001, min(warmup_iters / max_iter, LONGEST_WARMUP))


class CosineByEpoch(ParamScheduler):
    """Rate multiplier: half a cosine from 1 to 0, stepped by epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def __call__(self, where: float) -> float:
        """`where`: share of the run that is done, in [0, 1)."""
        epoch = math.floor(where * self.epochs + 1e-9)  # against the rounding of whole epochs
        return (1 + math.cos(math.pi * epoch / self.epochs)) / 2
