"""Hooks around the training steps: stopping on signals, the progress line, pictures for TensorBoard."""

import datetime
import logging
import signal
import threading
from types import FrameType

import torch
import torch.nn.functional as F
from detectron2.engine import HookBase
from detectron2.utils.events import EventWriter, get_event_storage
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from engine.training.processes import STOPPING
from engine.training.trainer import Sample

logger = logging.getLogger(__name__)

PICTURED = 4  # samples of a batch that are shown


class StopOnSignal(HookBase):
    """Stops all processes together after the running step on SIGTERM, SIGHUP and Ctrl-C."""

    def before_train(self) -> None:
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                self._previous[number] = signal.signal(number, self._request)

    def _request(self, number: int, frame: FrameType | None) -> None:
        logger.info("%s: stopping after this step", signal.Signals(number).name)
        self.trainer.stop_requested = True

    def after_train(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class FreezeNorms(HookBase):
    """Freezes the running statistics of batch norms from iteration `first` on, as in evaluation."""

    def __init__(self, first: int) -> None:
        self.first = first

    def before_step(self) -> None:
        if self.trainer.iter == max(self.first, self.trainer.start_iter):
            for module in self.trainer.model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()


class KeepTarget(HookBase):
    """Records the target share of kept tokens beside the reached one."""

    def __init__(self, keep_ratio: float) -> None:
        self.keep_ratio = keep_ratio

    def after_step(self) -> None:
        self.trainer.storage.put_scalar("keep/target", self.keep_ratio, smoothing_hint=False)


class SkippedSamples(HookBase):
    """Records the number of rejected draws: bad files, and crops without an unknown pixel."""

    def after_step(self) -> None:
        for reason, count in self.trainer.data_loader.dataset.skipped.items():
            self.trainer.storage.put_scalar(f"skipped/{reason}", count, smoothing_hint=False)


class Pictures(HookBase):
    """Puts a sheet of the batch into the event storage, one row per sample.

    The columns are image, trimap, alpha, prediction, and one routing map per routed block (white: global attention).
    """

    def __init__(self, period: int) -> None:
        self.period = period

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self.period == 0:
            self.trainer.storage.put_image("train/image_trimap_alpha_prediction_routing", sheet(self.trainer.last))


def sheet(sample: Sample) -> Tensor:
    """Draw the picture of a step, (3, rows * H, columns * W)."""
    size = sample.image.shape[-2:]
    maps = [F.interpolate(keep[:, None].float(), size, mode="nearest") for keep in sample.keep]
    grey = [sample.trimap, sample.target, sample.alpha.float(), *maps]
    columns = [sample.image, *(part.expand(-1, 3, -1, -1) for part in grey)]
    rows = torch.cat([column[:PICTURED] for column in columns], dim=3)  # (n, 3, H, columns * W)
    return torch.cat(list(rows), dim=1).clamp(0, 1).cpu()


class ProgressLine(EventWriter):
    """Logs one line: iteration, losses, speed, time left."""

    def __init__(self, max_iter: int, window: int = 20) -> None:
        self.max_iter, self.window = max_iter, window

    def write(self) -> None:
        storage = get_event_storage()
        if storage.iter >= self.max_iter or "total_loss" not in storage.histories():
            return
        parts = [f"iter {storage.iter + 1}/{self.max_iter}"]
        for name, label, form in (
            ("total_loss", "loss", ".4f"),
            ("unknown_l1_loss", "unknown L1", ".4f"),
            ("keep/total", "kept", ".3f"),
            ("lr", "lr", ".2e"),
            ("images_per_second", "images/s", ".1f"),
            ("data_wait", "data wait", ".1%"),
        ):
            if name in storage.histories():
                parts.append(f"{label} {storage.history(name).median(self.window):{form}}")
        if torch.cuda.is_available():
            parts.append(f"memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
        if "time" in storage.histories():
            seconds = storage.history("time").median(1000) * (self.max_iter - storage.iter - 1)
            parts.append(f"ETA {datetime.timedelta(seconds=int(seconds))}")
        logger.info("  ".join(parts))
