"""Results of a comparison as a table and as a JSON record."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from metrics.scores import METRICS, Scores


@dataclass
class Model:
    """A network to compare, and the answer of its process."""

    label: str
    config: Path
    checkpoint: Path
    answer: dict = field(default_factory=dict)

    @property
    def ran(self) -> bool:
        return "error" not in self.answer

    def record(self, mean: dict[str, float] | None) -> dict:
        return {
            "label": self.label,
            "config": str(self.config),
            "checkpoint": str(self.checkpoint),
            **self.answer,
            "mean_scores": mean,
        }


@dataclass
class Compared:
    """One image with its sheet and the scores of the models."""

    name: str
    sheet: str
    scores: dict[str, Scores] = field(default_factory=dict)

    def record(self) -> dict:
        return {
            "name": self.name,
            "sheet": self.sheet,
            "scores": {label: asdict(s) for label, s in self.scores.items()},
        }


def scored_by_all(models: Sequence[Model], images: Sequence[Compared]) -> list[Compared]:
    """Images with a score of every model that ran."""
    labels = [model.label for model in models if model.ran]
    return [image for image in images if labels and all(label in image.scores for label in labels)]


def mean_scores(label: str, images: Sequence[Compared]) -> dict[str, float] | None:
    """Mean of each metric over the scored images; None without any."""
    if not images or any(label not in image.scores for image in images):
        return None
    return {metric: float(np.mean([getattr(image.scores[label], metric) for image in images])) for metric in METRICS}


def table(models: Sequence[Model], images: Sequence[Compared]) -> str:
    """Markdown, one line a model."""
    common = scored_by_all(models, images)
    head = ["model", "images", "seconds", "s / megapixel", "peak memory, GiB"]
    if common:
        head += ["SAD", "MSE", "Grad", "Conn"]
    lines = [head, ["---"] * len(head)]
    for model in models:
        if not model.ran:
            lines.append([model.label, f"failed: {model.answer['error']}", *[""] * (len(head) - 2)])
            continue
        answer = model.answer
        speed = f"{answer['seconds'] / answer['megapixels']:.2f}" if answer["megapixels"] else ""
        row = [
            model.label,
            str(answer["images"]),
            f"{answer['seconds']:.2f}",
            speed,
            f"{answer['peak_bytes'] / 2**30:.2f}",
        ]
        mean = mean_scores(model.label, common)
        lines.append(row + [f"{mean[metric]:.2f}" for metric in METRICS if mean])
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return text + (f"\n\nscores: mean over {len(common)} images with ground truth" if common else "")
