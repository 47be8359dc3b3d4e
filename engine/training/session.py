"""A training run from its config: what is built, what is loaded, and which hooks watch."""

import logging
import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from detectron2.config import instantiate
from detectron2.engine import hooks
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventWriter, JSONWriter, TensorboardXWriter
from omegaconf import DictConfig, ListConfig
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from data.training.sources import resolve_root
from engine.training.checkpoint import POINTER, AtomicCheckpointer, Checkpoints
from engine.training.hooks import FreezeNorms, KeepTarget, Pictures, ProgressLine, SkippedSamples, StopOnSignal
from engine.training.logits import BoundLogits
from engine.training.manifest import commit, describe
from engine.training.trainer import MattingTrainer, choose_precision
from engine.training.validation import Validation, format_scores, validate, validation_pairs
from engine.training.workers import outlive_signals
from modeling.checkpoints.files import one_line
from modeling.checkpoints.initial import initialise, load_teacher
from modeling.checkpoints.weights import load_weights
from modeling.inference.predictor import choose_device

logger = logging.getLogger(__name__)


def train(config: DictConfig, name: str, resume: bool) -> bool:
    """Train as the config says, in every process of the group.

    Args:
        config: with model, criterion, dataloader, optimizer, lr_multiplier and train (see configs/common/train.py).
        name: of the config, for the description in checkpoints.
        resume: go on from the last checkpoint of the output folder, if there is one.

    Returns:
        whether the run came to its end (False: it was stopped by a signal, after a checkpoint).

    Raises:
        ValueError: settings, data or weights that do not fit together, before anything is computed.
        NonFiniteLoss: see the trainer.
    """
    try:
        trainer, start_iter = _prepare(config, name, resume)
    except (ValueError, OSError):
        raise
    except Exception as error:  # what libraries make of settings that they were not made for is beyond listing
        raise ValueError(f"these settings do not make a run ({type(error).__name__}: {one_line(error)})") from error
    comm.synchronize()
    trainer.train(start_iter, config.train.max_iter)
    return not trainer.stopping


def _prepare(config: DictConfig, name: str, resume: bool) -> tuple[MattingTrainer, int]:
    """Everything that a run needs, and the iteration that it starts from."""
    settings = config.train
    output_dir = Path(settings.output_dir)
    last = _last_checkpoint(output_dir, resume)
    device = _device(settings.device)
    output_dir.mkdir(parents=True, exist_ok=True)
    seed_all_rng(settings.seed + comm.get_rank())
    precision = choose_precision(settings.precision, device)
    pairs = validation_pairs(resolve_root(settings.validation_root)) if settings.validation_root else []

    model = _model(config, from_files=last is None).to(device, memory_format=torch.channels_last)
    optimizer = _optimizer(config, model)
    start_iter = 0
    description = {"config": name, "data": describe(config.dataloader.train), "commit": commit(), "metrics": {}}
    criterion = instantiate(config.criterion)
    trainer = MattingTrainer(model, criterion, (), optimizer, device, precision, output_dir, settings.max_grad_norm)
    checkpointer = AtomicCheckpointer(model, str(output_dir), description, trainer=trainer)
    trainer.register_hooks(_hooks(config, trainer, checkpointer, pairs))
    if last is not None:
        rest = checkpointer.load(str(last))
        description["metrics"] = rest["description"].get("metrics", {})
        start_iter = rest["iteration"] + 1
        logger.info("resuming from %s at iteration %d", last, start_iter)
    trainer.data_loader = _loader(config, start_iter)
    trainer.model = _distributed(model, device, precision)
    if device.type == "cpu":  # processes of one machine share its cores
        torch.set_num_threads(max(1, torch.get_num_threads() // comm.get_local_size()))
    return trainer, start_iter


def evaluate(config: DictConfig, resume: bool) -> dict[str, float]:
    """Scores of `train.init_checkpoint`, or with `resume` of the last checkpoint, on the validation folder."""
    settings = config.train
    if not settings.validation_root:
        raise ValueError("nothing to evaluate on: set train.validation_root to a folder of images, trimaps and alphas")
    pairs = validation_pairs(resolve_root(settings.validation_root))
    path = _last_checkpoint(Path(settings.output_dir), True) if resume else settings.init_checkpoint
    if not path:
        raise ValueError("no weights to evaluate: set train.init_checkpoint, or add --resume for those of a run")
    device = _device(settings.device)
    model = instantiate(config.model)
    load_weights(model, path)
    scores = validate(model.to(device), pairs, device)
    if not scores:
        raise ValueError(f"{settings.validation_root}: no image could be scored")
    logger.info("%s: %s", path, format_scores(scores))
    return scores


def _last_checkpoint(output_dir: Path, resume: bool) -> Path | None:
    pointer = output_dir / POINTER
    if not pointer.is_file():
        return None
    if not resume:
        raise ValueError(f"{output_dir} holds a run already: add --resume to go on, or choose another train.output_dir")
    try:
        named = output_dir / pointer.read_text().strip()
        there = named.is_file()
    except (OSError, ValueError) as error:
        raise ValueError(f"{pointer}: cannot be read ({one_line(error)}); write a checkpoint's name there") from error
    if not there:
        raise ValueError(f"{pointer} names {named.name}, which is not there; write another checkpoint's name there")
    return named


def _device(name: str) -> torch.device:
    device = choose_device(name)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())  # the launcher gives each process its own
    return device


def _model(config: DictConfig, from_files: bool) -> nn.Module:
    """The network with its teacher; a resumed run takes all weights from its own checkpoint instead of the files."""
    settings = config.train
    model = instantiate(config.model)
    if from_files and settings.init_checkpoint:
        initialise(model, settings.init_checkpoint)
    if getattr(model, "distill", False):
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


def _optimizer(config: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    config.optimizer.params.model = model
    optimizer = instantiate(config.optimizer)
    for group in optimizer.param_groups:  # go into checkpoints, which are read as plain data
        group.update({key: tuple(value) for key, value in group.items() if isinstance(value, ListConfig)})
    return optimizer


def _distributed(model: nn.Module, device: torch.device, precision: torch.dtype) -> nn.Module:
    if comm.get_world_size() == 1:
        return model
    wrapped = DistributedDataParallel(
        model, device_ids=[device] if device.type == "cuda" else None, broadcast_buffers=True
    )
    if precision == torch.float16:  # published; safe because the scaler keeps gradients within fp16
        wrapped.register_comm_hook(None, default_hooks.fp16_compress_hook)
    return wrapped


def _loader(config: DictConfig, start_iter: int) -> DataLoader:
    total, processes = config.train.total_batch_size, comm.get_world_size()
    if total % processes:
        raise ValueError(f"train.total_batch_size={total} cannot be shared by {processes} processes: take a multiple")
    loader = instantiate(
        {
            **config.dataloader.train,
            "batch_size": total // processes,
            "rank": comm.get_rank(),
            "world_size": processes,
            "start_iteration": start_iter,
        }
    )
    loader.worker_init_fn = outlive_signals(loader.worker_init_fn)
    loader.generator = torch.Generator()  # else its iterator would draw from the generator that resuming restores
    return loader


def _hooks(
    config: DictConfig, trainer: MattingTrainer, checkpointer: AtomicCheckpointer, pairs: list[Any]
) -> list[hooks.HookBase]:
    settings = config.train
    keep_ratio = getattr(trainer.criterion, "keep_ratio", None)
    watching = [
        StopOnSignal(),
        hooks.IterationTimer(),
        hooks.LRScheduler(trainer.optimizer, instantiate(config.lr_multiplier)),
        KeepTarget(keep_ratio) if keep_ratio is not None else None,
        FreezeNorms(settings.freeze_norms_from) if settings.freeze_norms_from is not None else None,
        BoundLogits(trainer.model, settings.max_logit_std) if settings.max_logit_std is not None else None,
        Validation(pairs, settings.eval_period, checkpointer) if pairs else None,
        Checkpoints(checkpointer, settings.checkpoint_period, settings.max_checkpoints),
    ]
    if comm.is_main_process():
        watching += [
            SkippedSamples(),
            Pictures(settings.image_period),
            hooks.PeriodicWriter(_writers(config), settings.log_period),
        ]
    return [hook for hook in watching if hook is not None]


def _writers(config: DictConfig) -> list[EventWriter]:
    output_dir = config.train.output_dir
    return [
        ProgressLine(config.train.max_iter),
        JSONWriter(os.path.join(output_dir, "metrics.json")),
        TensorboardXWriter(output_dir),
    ]


def initialise_process_group(device_type: str) -> None:
    """Join the group that torchrun's environment describes."""
    local_rank, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if device_type == "cuda":
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
    comm.create_local_process_group(local_size)
