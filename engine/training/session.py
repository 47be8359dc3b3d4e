"""Training run by config: built, resumed, and described by a manifest."""

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from detectron2.config import instantiate
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn
from torch.utils.data import DataLoader

from data.training.sources import resolve_root
from engine.training.average import WeightAverage
from engine.training.checkpoint import AtomicCheckpointer
from engine.training.hooks import build_hooks
from engine.training.manifest import continue_manifest, differences, make_manifest, write_manifest
from engine.training.processes import claim_device, distributed, share_cores
from engine.training.run_folder import checkpoint_to_resume, locked
from engine.training.settings import check_settings
from engine.training.step_plan import Plan, plan_step
from engine.training.trainer import MattingTrainer, choose_precision
from engine.training.validation import format_scores, validate, validation_pairs
from modeling.checkpoints.files import one_line
from modeling.checkpoints.initial import initialise, load_teacher
from modeling.checkpoints.weights import load_weights

logger = logging.getLogger(__name__)

UNREAD = ("train.output_dir", "train.init_checkpoint", "train.teacher_checkpoint")  # by a resumed run
FIXED = ("train.seed", "optimizer._target_", "optimizer.params._target_")  # within a run


def train(config: DictConfig, name: str, resume: bool, overrides: Sequence[str] = ()) -> bool:
    """Train as the config says, in every process of the group.

    Args:
        config: with model, criterion, dataloader, optimizer, lr_multiplier and train (see configs/common/train.py).
        name: of the config, for the manifest.
        resume: go on from the last checkpoint of the output folder, if there is one.
        overrides: that the config was loaded with, for the manifest.

    Returns:
        True if the run came to its end; False if a signal stopped it after a checkpoint.

    Raises:
        ValueError: settings, data or weights that do not fit together, before anything is computed.
        NonFiniteLoss: see the trainer.
    """
    check_settings(config)
    output_dir = Path(config.train.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    with locked(output_dir) if comm.is_main_process() else nullcontext():
        trainer, start_iter = prepare(config, name, resume, overrides)
        comm.synchronize()
        try:
            trainer.train(start_iter, config.train.max_iter)
        finally:
            if comm.is_main_process():
                write_manifest(trainer.manifest, output_dir)
    return not trainer.stopping


def prepare(config: DictConfig, name: str, resume: bool, overrides: Sequence[str] = ()) -> tuple[MattingTrainer, int]:
    """Parts of a run, and its first iteration.

    Raises ValueError as `train`.
    """
    try:
        started = time.perf_counter()
        trainer, start_iter = _build(config, name, resume, overrides)
        trainer.clock.add("setup", time.perf_counter() - started)
        return trainer, start_iter
    except (ValueError, OSError):
        raise
    except Exception as error:  # libraries raise errors of many types for settings that they were not made for
        raise ValueError(f"these settings do not make a run ({type(error).__name__}: {one_line(error)})") from error


def _build(config: DictConfig, name: str, resume: bool, overrides: Sequence[str]) -> tuple[MattingTrainer, int]:
    settings = config.train
    output_dir = Path(settings.output_dir)
    last = checkpoint_to_resume(output_dir, resume)
    device = claim_device(settings.device)
    share_cores(device)
    output_dir.mkdir(parents=True, exist_ok=True)
    seed_all_rng(settings.seed + comm.get_rank())
    precision = choose_precision(settings.precision, device)
    pairs = validation_pairs(resolve_root(settings.validation_root)) if settings.validation_root else []

    model = build_network(config, from_files=last is None).to(device, memory_format=torch.channels_last)
    model.checkpoint_activations(settings.checkpoint_activations)
    torch.backends.cudnn.benchmark = settings.cudnn_benchmark
    average = None if settings.ema_decay is None else WeightAverage(model, settings.ema_decay)
    trainer = MattingTrainer(
        model=model,
        criterion=instantiate(config.criterion),
        data_loader=(),
        optimizer=build_optimizer(config, model),
        device=device,
        precision=precision,
        output_dir=output_dir,
        max_grad_norm=settings.max_grad_norm,
        accumulate=settings.accumulate,
        manifest=make_manifest(config, name, overrides, device),
    )
    states = {"trainer": trainer} | ({} if average is None else {"ema": average})
    checkpointer = AtomicCheckpointer(model, str(output_dir), trainer.manifest, **states)
    trainer.register_hooks(build_hooks(config, trainer, checkpointer, pairs, average))
    start_iter = 0 if last is None else _resume(last, trainer, checkpointer)
    if last is not None and average is not None and not average.restored:
        average.restart()
        logger.warning("%s holds no moving average: it starts from the present weights", last)
    trainer.set_loader(build_loader(config, start_iter, device))
    trainer.manifest["files"] = trainer.data_loader.dataset.sources()
    if trainer.manifest["earlier"]:
        _report_files(trainer.manifest["earlier"][-1]["files"], trainer.manifest["files"])
    if settings.max_memory:
        _bound_memory(trainer, settings)
    static_graph = trainer.accumulate == 1 and "iteration" not in model.training_inputs
    if settings.compile:
        model.compile()
    trainer.model = distributed(model, device, precision, static_graph)
    if comm.is_main_process():
        write_manifest(trainer.manifest, output_dir)
    return trainer, start_iter


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


def _resume(last: Path, trainer: MattingTrainer, checkpointer: AtomicCheckpointer) -> int:
    """Load a checkpoint and report changed settings; returns the iteration."""
    rates = [dict(group, params=None) for group in trainer.optimizer.param_groups]
    rest = checkpointer.load(str(last))
    before = rest["description"]
    if "settings" in before:
        _report_changes(differences(before["settings"], trainer.manifest["settings"]))
    else:
        logger.warning("%s: written by an earlier version, without its settings: they are not compared", last)
    for group, wanted in zip(trainer.optimizer.param_groups, rates, strict=True):  # those of the config apply
        group.update({key: value for key, value in wanted.items() if key != "params"}, initial_lr=wanted["lr"])
    continue_manifest(trainer.manifest, before, rest["iteration"])
    start_iter = rest["iteration"] + 1
    logger.info("resuming from %s at iteration %d", last, start_iter)
    return start_iter


def _bound_memory(trainer: MattingTrainer, settings: DictConfig) -> None:
    """Parts and recomputation by the memory bound.

    A resumed run keeps to what it chose at first.
    """
    chosen = trainer.manifest["plan"]
    if chosen.get("max_memory") != settings.max_memory:
        wanted = Plan(settings.accumulate, settings.checkpoint_activations)
        crops = settings.total_batch_size // comm.get_world_size()
        chosen = {"max_memory": settings.max_memory, **asdict(plan_step(trainer, crops, settings.max_memory, wanted))}
    trainer.manifest["plan"] = chosen
    trainer.accumulate = chosen["accumulate"]
    trainer.bare.checkpoint_activations(chosen["recompute"])


def _report_changes(changed: list[tuple[str, Any, Any]]) -> None:
    for key, old, new in changed:
        if key in FIXED:
            raise ValueError(
                f"{key} was {old!r} in this run and cannot become {new!r}: start another run, with this one's weights "
                "as train.init_checkpoint"
            )
        if key not in UNREAD:
            logger.warning("%s was %r in this run, and is %r from here on", key, old, new)


def _report_files(before: list[dict[str, Any]] | None, now: list[dict[str, Any]]) -> None:
    """Report folders whose training files differ from the run's so far."""
    known = [(folder["root"], folder["sha256"]) for folder in before or []]
    changed = [folder for folder in now if (folder["root"], folder["sha256"]) not in known]
    if before and changed:
        roots = {folder["root"]: None for folder in changed}
        logger.warning("the training files are not those of this run so far in %s", ", ".join(roots))


def evaluate(config: DictConfig, resume: bool) -> dict[str, float]:
    """Score `train.init_checkpoint`, or with `resume` the last checkpoint, on the validation folder."""
    settings = config.train
    if not settings.validation_root:
        raise ValueError("nothing to evaluate on: set train.validation_root to a folder of images, trimaps and alphas")
    pairs = validation_pairs(resolve_root(settings.validation_root))
    path = checkpoint_to_resume(Path(settings.output_dir), True) if resume else initial_weights(config)
    if not path:
        raise ValueError("no weights to evaluate: set train.init_checkpoint, or add --resume for those of a run")
    device = claim_device(settings.device)
    model = instantiate(config.model)
    load_weights(model, path)
    scores = validate(model.to(device), pairs, device)
    if not scores:
        raise ValueError(f"{settings.validation_root}: no image could be scored")
    logger.info("%s: %s", path, format_scores(scores))
    return scores
