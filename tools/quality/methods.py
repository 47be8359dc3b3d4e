"""Measured methods: trained networks, routing variants, closed-form and KNN matting."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.trimap import is_unknown
from engine.build import build_model
from modeling import Predictor
from modeling.checkpoints.weights import load_weights
from modeling.inference.predictor import Matte
from tools.quality.routers import FixedShare, Shuffled

CLASSICAL = ("closed-form", "KNN")
SHUFFLE_SEED = 0
Run = Callable[[np.ndarray, np.ndarray, str], Matte]


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        label: what it is called there.
        config, checkpoint: of a network; None for a classical method, which `label` names.
        routing: "learnt", "random", or the share of tokens to keep as a number.
    """

    label: str
    config: Path | None = None
    checkpoint: Path | None = None
    routing: str = "learnt"

    def prepare(self, dtype: str) -> Run:
        """A function of image, trimap and name."""
        if self.config is None:
            return classical(self.label)
        model = build_model(self.config)
        load_weights(model, self.checkpoint)
        if self.routing != "learnt":
            routers = model.backbone.routers
            for index, router in enumerate(routers):
                routers[index] = (
                    Shuffled(router, SHUFFLE_SEED + index)
                    if self.routing == "random"
                    else FixedShare(router, float(self.routing))
                )
        return Predictor(model, dtype=dtype).run


def classical(label: str) -> Run:
    """pymatting's estimate of the alpha."""
    import pymatting  # only for developers; compiles its kernels when imported

    estimate = {"closed-form": pymatting.estimate_alpha_cf, "KNN": pymatting.estimate_alpha_knn}[label]

    def run(image: np.ndarray, trimap: np.ndarray, name: str) -> Matte:
        levels = np.where(is_unknown(trimap), 0.5, trimap / 255)
        if not (levels == 0).any() or not (levels == 1).any():  # its linear system has no solution then
            raise ValueError(f"{name}: {label} needs known foreground and known background")
        alpha = estimate(image / 255.0, levels)
        return Matte(np.clip(alpha, 0, 1).astype(np.float32), [])

    return run
