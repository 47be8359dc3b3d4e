"""Plan of a training step within a measured memory bound."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.utils import comm

from engine.training.accumulation import without_trace
from engine.training.trainer import MattingTrainer
from modeling.inference.budget import parse_memory
from modeling.inference.memory import in_use, peak

logger = logging.getLogger(__name__)

_RESET = Path("/proc/self/clear_refs")  # Linux: the high-water mark of the process starts again
_STATES = 2  # further tensors per parameter that the optimiser keeps: AdamW's two means


@dataclass(frozen=True)
class Plan:
    """Parts of a batch, and whether activations are recomputed."""

    accumulate: int
    recompute: bool


def plan_step(trainer: MattingTrainer, crops: int, bound: str, wanted: Plan) -> Plan:
    """Choose the fastest plan within the bound, and log it.

    Keeping activations is faster than recomputing them, which is faster than smaller parts.

    Args:
        trainer: ready, with its loader; a forward and backward pass of one crop is run, and leaves nothing behind.
        crops: in the batch of this process.
        bound: bytes of this process, such as "20GB".
        wanted: plan of the config: what it recomputes or divides already stays so.

    Raises:
        ValueError: the bound is no amount of memory, or one crop does not fit.
    """
    allowed = parse_memory(bound)
    device = trainer.device
    trainable = [parameter for parameter in trainer.bare.parameters() if parameter.requires_grad]
    held = in_use(device) + _STATES * sum(parameter.numel() * parameter.element_size() for parameter in trainable)
    needs = {}
    for recompute in (True,) if wanted.recompute else (False, True):
        needs[recompute] = _measure(trainer, recompute)
    plan = choose(needs, allowed - held, crops, wanted.accumulate)
    plans = comm.all_gather(plan)
    if None in plans:
        least = held + min(needs.values())
        raise ValueError(
            f"train.max_memory={bound} is too little: a step on one crop takes {least / 1e9:.1f} GB, of which the "
            f"process holds {held / 1e9:.1f} GB before it; use smaller crops or a lower train.precision"
        )
    plan = Plan(max(each.accumulate for each in plans), any(each.recompute for each in plans))
    logger.info(
        "train.max_memory=%s: %d crops at a time (train.accumulate=%d), activations %s; about %.1f GB",
        bound,
        crops // plan.accumulate,
        plan.accumulate,
        "recomputed" if plan.recompute else "kept",
        (held + needs[plan.recompute] * (crops // plan.accumulate)) / 1e9,
    )
    return plan


def choose(needs: dict[bool, int], free: int, crops: int, least_parts: int) -> Plan | None:
    """Plan by the bytes of a crop with and without recomputing.

    None if nothing fits.
    """
    for parts in range(least_parts, crops + 1):
        if crops % parts:
            continue
        for recompute, need in sorted(needs.items()):
            if need * (crops // parts) <= free:
                return Plan(parts, recompute)
    return None


def _measure(trainer: MattingTrainer, recompute: bool) -> int:
    """Additional bytes of a training step on one crop."""
    sample = trainer.data_loader.dataset[(0, 0)]
    crop = {key: value[None] for key, value in sample.items() if isinstance(value, torch.Tensor)}
    trainer.bare.checkpoint_activations(recompute)
    with without_trace(trainer.bare, trainer.device):
        held = in_use(trainer.device)
        _reset_peak(trainer.device)
        trainer.probe(crop)
        taken = max(peak(trainer.device) - held, 0)
    trainer.optimizer.zero_grad()
    return taken


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _RESET.exists():
        _RESET.write_text("5")
