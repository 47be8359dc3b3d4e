"""A comparison: one process per model, then sheets and scores per image."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data.files import read_alpha, write_png
from data.folders import Pair
from engine.batch.folders import read_pair
from metrics.folder import read_matte
from metrics.scores import Scores, score_pair
from tools.arguments import ROOT
from tools.cli import INTERRUPTED
from tools.comparison.report import Compared, Model, mean_scores, scored_by_all
from tools.comparison.sheet import Panel, make_sheet

logger = logging.getLogger(__name__)


class Comparison:
    """Models, images and the failures so far."""

    def __init__(self, models: list[Model], pairs: list[Pair], output: Path, settings: dict) -> None:
        self.models, self.output, self.settings = models, output, settings
        self.failures: dict[str, str] = {}
        self.pairs = [pair for pair in pairs if self._readable(pair)]

    def _fail(self, name: str, reason: Exception | str) -> None:
        self.failures[name] = " ".join(str(reason).split())
        logger.error("%s: %s", name, self.failures[name])

    def _readable(self, pair: Pair) -> bool:
        """True if the files can be read; checked once for all models."""
        try:
            read_pair(pair)
        except ValueError as error:
            self._fail(pair.name, error)
            return False
        return True

    def matte_folder(self, model: Model) -> Path:
        """Folder of the mattes of one model."""
        return self.output / "mattes" / model.label

    def run_model(self, model: Model) -> None:
        """Run one model in a fresh process and keep its answer."""
        files = [(pair.name, str(pair.image), str(pair.trimap)) for pair in self.pairs]
        request = {
            "label": model.label,
            "config": str(model.config),
            "checkpoint": str(model.checkpoint),
            "pairs": files,
            "output": str(self.matte_folder(model)),
            "settings": self.settings,
        }
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(
            [sys.executable, "-m", "tools.comparison.worker"],
            input=json.dumps(request),
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        if done.returncode == INTERRUPTED:
            raise KeyboardInterrupt
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            model.answer = {"error": _exit_reason(done.returncode)}
        else:
            model.answer = json.loads(lines[-1])
        if not model.ran:
            self._fail(model.label, model.answer["error"])
            return
        for name, reason in model.answer["failures"].items():
            self.failures[f"{model.label}: {name}"] = reason  # logged by its process

    def compare(self, pair: Pair) -> Compared | None:
        """Score and sheet of one image; None after a failure."""
        sheet = Path("sheets") / f"{pair.name}.png"
        result = Compared(pair.name, sheet.as_posix())
        try:
            image, trimap = read_pair(pair)
            truth = self._truth(pair, trimap)
            panels = []
            for model in self.models:
                alpha = None
                if model.ran and pair.name not in model.answer["failures"]:
                    alpha = read_alpha(self.matte_folder(model) / f"{pair.name}.png")
                lines = [model.label if alpha is not None else f"{model.label}: failed"]
                if truth is not None and alpha is not None:
                    result.scores[model.label] = score_pair(alpha, truth, trimap)
                    lines.append(score_line(result.scores[model.label]))
                panels.append(Panel(tuple(lines), alpha))
            result.scores = {label: scores for label, scores in result.scores.items() if scores.defined}
            truth_panel = None if truth is None else Panel(("ground truth",), truth)
            write_png(self.output / sheet, make_sheet(image, trimap, panels, truth_panel))
        except ValueError as error:
            self._fail(pair.name, error)
            return None
        return result

    def _truth(self, pair: Pair, trimap: np.ndarray) -> np.ndarray | None:
        """True alpha, or None where there is none that can be used."""
        if pair.alpha is None:
            return None
        try:
            truth = read_matte(pair.alpha, "label", binary_ok=True)
            if truth.shape != trimap.shape:
                sizes = [f"{array.shape[1]} x {array.shape[0]}" for array in (truth, trimap)]
                raise ValueError(f"label {pair.alpha.name} is {sizes[0]} but the image is {sizes[1]} (width x height)")
        except ValueError as error:
            self._fail(pair.name, f"not scored: {error}")
            return None
        return truth

    def record(self, images: list[Compared]) -> dict:
        """For compare.json."""
        common = scored_by_all(self.models, images)
        return {
            "settings": self.settings,
            "models": [model.record(mean_scores(model.label, common)) for model in self.models],
            "images": [image.record() for image in images],
            "failures": self.failures,
        }


def score_line(scores: Scores) -> str:
    """Two of the four scores, for the sheet."""
    return f"SAD {scores.sad:.2f}  MSE {scores.mse:.2f}" if scores.defined else "nothing unknown"


def _exit_reason(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed, as it happens where memory runs out; try --max-memory"
    return f"its process ended with exit code {code}"


@contextmanager
def no_second_warning() -> Iterator[None]:
    """Leave out warnings of files that have been read before."""
    loggers = [logging.getLogger(name) for name in ("data", "engine")]
    levels = [quiet.level for quiet in loggers]
    for quiet in loggers:
        quiet.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for quiet, level in zip(loggers, levels, strict=True):
            quiet.setLevel(level)
