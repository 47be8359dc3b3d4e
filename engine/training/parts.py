"""Parts of a run: network with teacher, optimiser, loader and hooks."""

import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.config import instantiate
from detectron2.engine import hooks
from detectron2.utils import comm
from detectron2.utils.events import EventWriter, JSONWriter, TensorboardXWriter
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn
from torch.utils.data import DataLoader

from data.folders import Pair
from engine.training.average import AverageWeights, WeightAverage
from engine.training.checkpoint import AtomicCheckpointer, Checkpoints
from engine.training.hooks import FreezeNorms, KeepTarget, Pictures, SkippedSamples, StopOnSignal
from engine.training.logits import BoundLogits
from engine.training.trainer import MattingTrainer
from engine.training.validation import Validation
from engine.training.writers import ProgressLine, WandbWriter
from modeling.checkpoints.initial import initialise, load_teacher

logger = logging.getLogger(__name__)

PICTURES_AT_LEAST = 10  # in a run that is shorter than a few periods


def build_network(config: DictConfig, from_files: bool) -> nn.Module:
    """Network with its teacher, and initial weights.

    A resumed run takes all weights from its own checkpoint, not from files.
    """
    settings = config.train
    model = instantiate(config.model)
    if from_files:
        start = initial_weights(config)
        if start:
            initialise(model, start)
        else:
            logger.info("starting from random weights, since train.init_checkpoint is empty")
    if model.distill:
        teacher = instantiate(config.teacher)
        if from_files:
            source = settings.teacher_checkpoint or settings.init_checkpoint
            if not source:
                raise ValueError(
                    "distillation needs a teacher: set train.teacher_checkpoint to a ViTMatte checkpoint (.pth, "
                    ".safetensors), or train without one by model.distill=False"
                )
            load_teacher(teacher, source)
        model.attach_teacher(teacher)
    return model


def initial_weights(config: DictConfig) -> str:
    """Value of train.init_checkpoint.

    Raises ValueError where the config asks for one and none is given.
    """
    if OmegaConf.is_missing(config.train, "init_checkpoint"):
        raise ValueError("this config fine-tunes: set train.init_checkpoint to the weights to start from")
    return config.train.init_checkpoint


def build_optimizer(config: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser of the model's parameters."""
    settings = config.optimizer.copy()
    settings.params.model = model
    optimizer = instantiate(settings)
    for group in optimizer.param_groups:  # go into checkpoints, which are read as plain data
        group.update({key: tuple(value) for key, value in group.items() if isinstance(value, ListConfig)})
    return optimizer


def build_loader(config: DictConfig, start_iter: int, device: torch.device) -> DataLoader:
    """Loader of this process's share of batches, from an iteration on."""
    total, processes = config.train.total_batch_size, comm.get_world_size()
    if total % processes:
        raise ValueError(f"train.total_batch_size={total} cannot be shared by {processes} processes: take a multiple")
    if total // processes % config.train.accumulate:
        raise ValueError(
            f"train.accumulate={config.train.accumulate} does not divide the {total // processes} crops of a process "
            "into equal parts"
        )
    loader = instantiate(
        {
            **config.dataloader.train,
            "batch_size": total // processes,
            "rank": comm.get_rank(),
            "world_size": processes,
            "start_iteration": start_iter,
            "pin_memory": device.type == "cuda",
        }
    )
    loader.generator = torch.Generator()  # else its iterator would draw from the generator that resuming restores
    return loader


def build_hooks(
    config: DictConfig,
    trainer: MattingTrainer,
    checkpointer: AtomicCheckpointer,
    pairs: list[Pair],
    average: WeightAverage | None,
) -> list[hooks.HookBase]:
    """Hooks in order of action.

    What changes the weights comes before what scores and saves them.
    """
    settings = config.train
    keep_ratio = getattr(trainer.criterion, "keep_ratio", None)
    scored = trainer.model if average is None else average.model
    watching = [
        StopOnSignal(),
        hooks.IterationTimer(),
        hooks.LRScheduler(trainer.optimizer, instantiate(config.lr_multiplier)),
        KeepTarget(keep_ratio) if keep_ratio is not None else None,
        FreezeNorms(settings.freeze_norms_from) if settings.freeze_norms_from is not None else None,
        BoundLogits(trainer.model, settings.max_logit_std) if settings.max_logit_std is not None else None,
        AverageWeights(average) if average is not None else None,
        Validation(scored, pairs, settings.eval_period, checkpointer) if pairs else None,
        Checkpoints(checkpointer, settings.checkpoint_period, settings.max_checkpoints),
    ]
    if comm.is_main_process():
        watching += [
            SkippedSamples(),
            Pictures(min(settings.image_period, math.ceil(settings.max_iter / PICTURES_AT_LEAST))),
            hooks.PeriodicWriter(build_writers(config, trainer.manifest), settings.log_period),
        ]
    return [hook for hook in watching if hook is not None]


def build_writers(config: DictConfig, manifest: Mapping[str, Any]) -> list[EventWriter]:
    """Writers of figures: terminal, metrics.json, TensorBoard, optionally Weights & Biases."""
    output_dir = config.train.output_dir
    writers = [
        ProgressLine(config.train.max_iter),
        JSONWriter(os.path.join(output_dir, "metrics.json")),
        TensorboardXWriter(output_dir),
    ]
    if project := config.train.wandb_project:
        writers.append(WandbWriter(project, Path(output_dir).name, manifest["settings"], Path(output_dir)))
    return writers
