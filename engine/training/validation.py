"""Scores on a folder with ground truth, during training or alone."""

import logging
import statistics
from pathlib import Path

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from data.files import FileError, quantise, read_alpha, read_image, read_trimap, to_uint8
from data.folders import Pair, find_pairs
from engine.training.checkpoint import AtomicCheckpointer
from metrics.scores import METRICS, Scores, score_pair
from modeling.base import MattingNetwork
from modeling.inference.predictor import Predictor

logger = logging.getLogger(__name__)


def validation_pairs(root: Path) -> list[Pair]:
    """Images of a folder with trimap and alpha.

    Raises ValueError where any lacks one.
    """
    pairs = find_pairs(root)
    bad = [f"{pair.name}: {pair.problem or 'no alpha'}" for pair in pairs if pair.problem or pair.alpha is None]
    if bad:
        raise ValueError(f"{root}: {len(bad)} of {len(pairs)} images cannot be scored, for example {bad[0]}")
    return pairs


def validate(model: MattingNetwork, pairs: list[Pair], device: torch.device) -> dict[str, float]:
    """Mean scores over `pairs`, shared by processes.

    Images that cannot be read are logged and left out.

    Returns:
        mean of each metric, and the number of images, the same on every process; empty where none could be scored.
    """
    predictor = Predictor(model.student_copy(), device=str(device))
    own = [_score(predictor, pair) for pair in pairs[comm.get_rank() :: comm.get_world_size()]]
    scores = [score for part in comm.all_gather(own) for score in part if score is not None and score.defined]
    if not scores:
        return {}
    means = {metric: statistics.fmean(getattr(score, metric) for score in scores) for metric in METRICS}
    return {**means, "images": len(scores)}


def _score(predictor: Predictor, pair: Pair) -> Scores | None:
    try:
        target = read_alpha(pair.alpha)
        trimap = read_trimap(pair.trimap)
        alpha = predictor.predict(read_image(pair.image), trimap, pair.name)
        return score_pair(quantise(alpha), to_uint8(target), trimap)
    except (FileError, ValueError) as error:
        logger.warning("left out of the validation: %s: %s", pair.name, error)
        return None


class Validation(HookBase):
    """Scores every `period` iterations; the best model becomes `model_best.pth`.

    Args:
        model: the network to score, bare: the one that trains, or the one that holds its moving average.
        pairs: images to score it on.
        period: iterations.
        checkpointer: writes the best model; its description takes the scores along.
    """

    def __init__(self, model: MattingNetwork, pairs: list[Pair], period: int, checkpointer: AtomicCheckpointer) -> None:
        self.model, self.pairs, self.period, self.checkpointer = model, pairs, period, checkpointer
        self.best: float | None = None

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self.period and done != self.trainer.max_iter:
            return
        with self.trainer.clock.phase("validation"):
            scores = validate(self.model, self.pairs, self.trainer.device)
        if not scores:
            logger.warning("iteration %d: no validation image could be scored", self.trainer.iter)
            return
        logger.info("iteration %d: %s", self.trainer.iter, format_scores(scores))
        named = {f"validation/{metric}": scores[metric] for metric in METRICS}
        self.trainer.storage.put_scalars(smoothing_hint=False, **named)
        self.checkpointer.description["metrics"] = scores
        if self.best is None or scores["sad"] < self.best:
            self.best = scores["sad"]
            self.checkpointer.save("model_best", tag=False, iteration=self.trainer.iter)

    def state_dict(self) -> dict[str, float]:
        return {} if self.best is None else {"best": self.best}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.best = state["best"]


def format_scores(scores: dict[str, float]) -> str:
    """Format the scores as one line for a log."""
    values = "  ".join(f"{metric.upper()} {scores[metric]:.3f}" for metric in METRICS)
    return f"{values}  over {scores['images']} images"
