"""Training hooks: signals, frozen norms, recorded figures and pictures."""

import logging
import signal
import threading
from types import FrameType

import torch
import torch.nn.functional as F
from detectron2.engine import HookBase
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from engine.training.processes import STOPPING
from engine.training.trainer import Sample

logger = logging.getLogger(__name__)

PICTURED = 4  # samples of a batch that are shown


class StopOnSignal(HookBase):
    """Stop of all processes after the step, on SIGTERM, SIGHUP and Ctrl-C."""

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
    """Frozen running statistics of batch norms from iteration `first` on."""

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
    """Count of rejected draws by reason."""

    def after_step(self) -> None:
        for reason, count in self.trainer.data_loader.dataset.skipped.items():
            self.trainer.storage.put_scalar(f"skipped/{reason}", count, smoothing_hint=False)


class Pictures(HookBase):
    """Sheets of the batch for the event storage, one row per sample.

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
