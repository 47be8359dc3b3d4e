"""Training hooks: their order, signals, frozen norms, figures and pictures."""

import logging
import math
import signal
import threading
from types import FrameType

import torch
import torch.nn.functional as F
from detectron2.config import instantiate
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from data.folders import Pair
from engine.training.average import AverageWeights, WeightAverage
from engine.training.checkpoint import AtomicCheckpointer, Checkpoints
from engine.training.logits import BoundLogits
from engine.training.processes import STOPPING
from engine.training.trainer import MattingTrainer, Sample
from engine.training.validation import Validation
from engine.training.writers import build_writers

logger = logging.getLogger(__name__)

PICTURED = 4  # samples of a batch that are shown
PICTURES_AT_LEAST = 10  # in a run that is shorter than a few periods


def build_hooks(
    config: DictConfig,
    trainer: MattingTrainer,
    checkpointer: AtomicCheckpointer,
    pairs: list[Pair],
    average: WeightAverage | None,
) -> list[HookBase]:
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
