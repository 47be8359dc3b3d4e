"""Writers of figures: terminal, metrics.json, TensorBoard, Weights & Biases."""

import datetime
import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.utils.events import EventWriter, JSONWriter, TensorboardXWriter, get_event_storage
from omegaconf import DictConfig

logger = logging.getLogger(__name__)

_SMOOTHED = 20  # steps, as for detectron2's writers


def build_writers(config: DictConfig, manifest: Mapping[str, Any]) -> list[EventWriter]:
    """Writers of a run; Weights & Biases only with a project."""
    output_dir = config.train.output_dir
    writers = [
        ProgressLine(config.train.max_iter),
        JSONWriter(os.path.join(output_dir, "metrics.json")),
        TensorboardXWriter(output_dir),
    ]
    if project := config.train.wandb_project:
        writers.append(WandbWriter(project, Path(output_dir).name, manifest["settings"], Path(output_dir)))
    return writers


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


class WandbWriter(EventWriter):
    """Figures to Weights & Biases, continued when a run is resumed.

    Args:
        project: name of the project there.
        name: of the run.
        settings: whole config.
        folder: output folder of the run.
    """

    def __init__(self, project: str, name: str, settings: Mapping[str, Any], folder: Path) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ValueError("train.wandb_project is set, but wandb is not installed: pip install wandb") from error
        identity = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]
        self._run = wandb.init(
            project=project, name=name, config=dict(settings), dir=str(folder), id=identity, resume="allow"
        )
        self._written = -1

    def write(self) -> None:
        storage = get_event_storage()
        latest = storage.latest_with_smoothing_hint(_SMOOTHED)
        new = {name: value for name, (value, iteration) in latest.items() if iteration > self._written}
        if new:
            self._run.log(new, step=storage.iter)
            self._written = storage.iter

    def close(self) -> None:
        self._run.finish()
