"""Training step on any device and number of processes, and its loop."""

import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from engine.training.accumulation import BatchMeans, split_batch, without_trace
from engine.training.checkpoint import write_atomically
from engine.training.manifest import PhaseClock
from engine.training.workers import WorkerSignals
from modeling.base import MattingNetwork, MattingOutput
from modeling.inputs import training_trimap
from modeling.losses.terms import Mean, mean_over_processes
from modeling.precision import DTYPES

Criterion = Callable[[MattingOutput, Tensor, Tensor, Mean], dict[str, Tensor]]
SHARE = "keep/router_"
SMOOTHED = 20  # steps over which detectron2's writers take the median


class NonFiniteLoss(FloatingPointError):
    """Infinite or NaN loss; the message names the file of the batch."""


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Precision by name; "auto" follows the device.

    "auto" is bf16 on a GPU that has it, fp16 on older ones, fp32 elsewhere.

    Only "tf32" lets products and convolutions of a GPU in float32 round their factors; cuDNN would by default.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if name not in DTYPES:
        raise ValueError(f"train.precision={name!r} is unknown: use one of auto, {', '.join(DTYPES)}")
    if name == "fp16" and device.type != "cuda":
        raise ValueError(f"train.precision=fp16 needs a CUDA device, not {device.type}: use bf16 or fp32")
    return DTYPES[name]


def _cause_in_worker(error: Exception) -> str | None:
    """First line of a loading worker's error; None for other errors.

    A worker passes it on behind its whole traceback.
    """
    text = str(error)
    if not text.startswith("Caught ") or "Original Traceback" not in text:
        return None
    indented = (" ", "Caught ", "Original Traceback", "The above exception", "During handling", "Traceback ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(indented)]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt|Exit)\b", line)]
    return (named or lines or [type(error).__name__])[-1]


@dataclass
class Sample:
    """Inputs and results of the last step, kept for pictures."""

    image: Tensor  # (B, 3, H, W) in [0, 1]
    trimap: Tensor  # (B, 1, H, W) of 0, 0.5, 1
    target: Tensor  # (B, 1, H, W)
    alpha: Tensor  # (B, 1, H, W)
    keep: list[Tensor]  # per routed block (B, h, w)


class MattingTrainer(SimpleTrainer):
    """detectron2's loop around one matting step: forward, criterion, backward, optimiser.

    Args:
        model: bare network; of the further inputs that `_extra_inputs` knows it gets those in its `training_inputs`.
            `trainer.model` may afterwards be set to the same wrapped in DistributedDataParallel.
        criterion: one of modeling.losses.criteria.
        data_loader: endless batches of `image`, `trimap`, `alpha` tensors and their `name`s.
        optimizer: of the model's parameters.
        device: of the model.
        precision: of the forward pass; below fp32 under autocast, fp16 with a gradient scaler.
        output_dir: folder for the names of an offending batch.
        max_grad_norm: gradients with a larger L2 norm over all parameters are scaled down to it; None: never.
        accumulate: equal parts of a batch, computed one after the other; the gradients are those of the whole.
        manifest: of the run, which goes into checkpoints; its `seconds` are filled in here.
    """

    def __init__(
        self,
        model: MattingNetwork,
        criterion: Criterion,
        data_loader: Iterable[Mapping[str, Any]],
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        precision: torch.dtype,
        output_dir: Path,
        max_grad_norm: float | None = None,
        accumulate: int = 1,
        manifest: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.training_inputs = model.training_inputs
        self.bare, self.max_grad_norm, self.accumulate = model, max_grad_norm, accumulate
        self.criterion, self.device, self.precision, self.output_dir = criterion, device, precision, output_dir
        self.manifest = {} if manifest is None else manifest
        self.clock = PhaseClock(self.manifest.setdefault("seconds", {}))
        self._worker_signals = WorkerSignals()
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
        self.stop_requested = False  # by this process, for example by a signal
        self.stopping = False  # agreed by all processes: this step is the last one
        self.last: Sample | None = None
        self._previous: tuple[float, float] | None = None  # start of the last step, and its wait for data
        self._recent: dict[int, dict[str, float]] = {}  # figures of the last steps, which smoothed curves are made of

    def set_loader(self, loader: DataLoader) -> None:
        """Take batches from `loader`, whose workers end with the loop."""
        loader.worker_init_fn = self._worker_signals.initialiser(loader.worker_init_fn)
        self.data_loader = loader

    def train(self, start_iter: int, max_iter: int) -> None:
        """Run the loop, which may end early without an error."""
        self.iter = self.start_iter = start_iter
        self.max_iter = max_iter
        with EventStorage(start_iter) as self.storage:
            for iteration, figures in self._recent.items() if start_iter < max_iter else ():
                self.storage.iter = iteration
                self.storage.put_scalars(**figures)
            self.storage.iter = start_iter
            try:
                self.before_train()
                for self.iter in range(start_iter, max_iter):
                    self.before_step()
                    with self.clock.phase("steps"):
                        self.run_step()
                    self.after_step()
                    if self.stopping:
                        break
                else:
                    self.iter = max_iter
            finally:
                self.after_train()

    def after_train(self) -> None:
        self._worker_signals.end()
        self.data_loader = ()  # a loader with persistent workers keeps its iterator
        self._data_loader_iter_obj = None  # ends the worker processes
        super().after_train()

    def run_step(self) -> None:
        started = time.perf_counter()
        batch = self._next_batch()
        waited = time.perf_counter() - started
        parts = [batch] if self.accumulate == 1 else split_batch(batch, self.accumulate)
        means = self._look_ahead(parts) if len(parts) > 1 else None
        self.optimizer.zero_grad()
        figures = []
        for part in parts:
            last = part is parts[-1]
            mean = mean_over_processes if means is None else means.player()
            with nullcontext() if last else self._without_averaging():
                figures.append(self._part_step(part, mean, len(parts)))
        self.after_backward()
        self._clip_gradients()
        self._report({name: torch.stack([part[name] for part in figures]).mean() for name in figures[0]}, batch, waited)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._time(started, waited, len(batch["name"]))

    def _part_step(self, part: Mapping[str, Any], mean: Mean, parts: int) -> dict[str, Tensor]:
        """Add gradients of one part; returns losses and kept-token shares."""
        image, trimap, alpha = self._to_device(part)
        output = self._forward(self.model, image, trimap, alpha)
        losses = self.criterion(output, alpha, trimap, mean)
        self.scaler.scale(sum(losses.values()) / parts).backward()
        self.last = Sample(image, trimap, alpha, output.alpha.detach(), output.keep)
        shares = {f"{SHARE}{index}": kept.float().mean() for index, kept in enumerate(output.keep)}
        return {name: value.detach().float() for name, value in losses.items()} | shares

    def _forward(self, model: nn.Module, image: Tensor, trimap: Tensor, alpha: Tensor) -> MattingOutput:
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            return model(image, trimap, **self._extra_inputs(alpha))

    def _look_ahead(self, parts: Sequence[Mapping[str, Any]]) -> BatchMeans:
        """Batch-wide figures that the losses of each part need.

        Where that includes the tokens that are kept, it takes one more forward pass of each part; of the student alone,
        whose features stand for the teacher's, since no mean depends on them.
        """
        means, distilled = BatchMeans(), self.bare.distill
        with without_trace(self.bare, self.device), torch.no_grad(), self.bare.undistilled():
            for part in parts:
                image, trimap, alpha = self._to_device(part)
                routed = self.criterion.reads_policy
                output = self._forward(self.bare, image, trimap, alpha) if routed else MattingOutput(alpha)
                output.teacher_features = output.features if distilled else None
                self.criterion(output, alpha, trimap, means.recorder())
        means.average()
        return means

    def probe(self, part: Mapping[str, Any]) -> None:
        """Forward and backward pass of some crops, for measuring.

        Leaves gradients behind.
        """
        image, trimap, alpha = self._to_device(part)
        losses = self.criterion(self._forward(self.bare, image, trimap, alpha), alpha, trimap)
        sum(losses.values()).backward()

    def _without_averaging(self) -> AbstractContextManager:
        """Hold back the averaging of gradients over processes until the last part."""
        return self.model.no_sync() if isinstance(self.model, DistributedDataParallel) else nullcontext()

    def _next_batch(self) -> Mapping[str, Any]:
        try:
            return next(self._data_loader_iter)
        except Exception as error:
            cause = _cause_in_worker(error)
            if cause is None:
                raise
            raise (ValueError if isinstance(error, ValueError) else RuntimeError)(cause) from error

    def _to_device(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        image, trimap, alpha = (batch[key].to(self.device, non_blocking=True) for key in ("image", "trimap", "alpha"))
        image, alpha = (part.float() / 255 if part.dtype == torch.uint8 else part for part in (image, alpha))
        return image, training_trimap(trimap), alpha

    def _extra_inputs(self, alpha: Tensor) -> dict[str, Any]:
        """Further training inputs of the network: ground truth, step number."""
        known = {"alpha": alpha, "iteration": self.iter}
        return {name: known[name] for name in self.training_inputs}

    def _clip_gradients(self) -> None:
        if self.max_grad_norm is None:
            return
        self.scaler.unscale_(self.optimizer)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm).item()
        if math.isfinite(norm):  # the first steps in fp16 may overflow: the scaler skips them
            self.storage.put_scalar("gradient_norm", norm)

    def _report(self, figures: dict[str, Tensor], batch: Mapping[str, Any], waited: float) -> None:
        """Average, check and record losses and shares, equally in all processes."""
        stop = torch.tensor(float(self.stop_requested), device=self.device)
        means = mean_over_processes(torch.stack([*figures.values(), stop])).tolist()
        self.stopping = means.pop() > 0
        named = dict(zip(figures, means, strict=True))
        shares = [name for name in figures if name.startswith(SHARE)]
        losses = [name for name in figures if name not in shares]
        total = sum(named[name] for name in losses)
        if not math.isfinite(total):
            self._refuse(batch, {name: figures[name].item() for name in losses})
        if shares:
            named["keep/total"] = sum(named[name] for name in shares) / len(shares)
        named["total_loss"] = total
        self.storage.put_scalars(data_time=waited, **named)
        self._recent[self.iter] = named
        self._recent.pop(self.iter - SMOOTHED, None)

    def _refuse(self, batch: Mapping[str, Any], losses: dict[str, float]) -> None:
        path = self.output_dir / f"nonfinite_batch_rank{comm.get_rank()}.json"
        # JSON knows no NaN
        listed = {name: str(value) for name, value in losses.items()}
        record = {"iteration": self.iter, "names": list(batch["name"]), "losses": listed}
        content = json.dumps(record, indent=2).encode()
        write_atomically(path, lambda file: file.write(content))
        raise NonFiniteLoss(
            f"a loss became infinite or NaN at iteration {self.iter}: the files of the batch are listed in {path}"
        )

    def _time(self, started: float, waited: float, images: int) -> None:
        """Record the throughput of the previous step, hooks included."""
        if self._previous is not None:
            seconds = started - self._previous[0]
            self.storage.put_scalars(images_per_second=images * comm.get_world_size() / seconds)
            self.storage.put_scalars(data_wait=self._previous[1] / seconds)
        self._previous = (started, waited)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "grad_scaler": self.scaler.state_dict(), "recent": dict(self._recent)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        if state_dict["grad_scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state_dict["grad_scaler"])
        self._recent = dict(state_dict.get("recent", {}))  # checkpoints of earlier versions have none
