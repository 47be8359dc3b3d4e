"""DiffMatte with synthetic weights, as the golden files were made."""

import functools
import gzip
import json
from pathlib import Path

import numpy as np
import torch
from detectron2.config import LazyConfig, instantiate
from torch import Tensor, nn

from modeling.diffmatte import DiffMatte
from tools.reference.golden.files import GOLDEN
from tools.reference.weights import fill_

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    "res34": "DiffMatte_Res34",
    "swin_t": "DiffMatte_SwinT",
    "vits": "DiffMatte_ViTS",
    "vitb": "DiffMatte_ViTB",
    "vits_1024": "DiffMatte_ViTS_1024",
}


def diffmatte_keys(variant: str) -> list[list]:
    """Published state dict's [name, shape, dtype], in order."""
    return json.loads(gzip.decompress((GOLDEN / "diffmatte.keys.json.gz").read_bytes()))[variant]


def build(variant: str) -> DiffMatte:
    """The network of a config, with random weights."""
    return instantiate(LazyConfig.load(str(ROOT / "configs" / f"{CONFIGS[variant]}.py")).model)


@functools.lru_cache(maxsize=2)
def filled(variant: str) -> DiffMatte:
    """Network of a config with the golden files' weights, for evaluation.

    Not to be changed.
    """
    if variant.startswith("vit"):  # skips random weights that are overwritten anyway; Swin's index tables are not
        with torch.device("meta"):
            model = build(variant).to_empty(device="cpu").eval()
    else:
        model = build(variant).eval()
    fill_(model.state_dict())
    converge_(model)
    return model


@torch.no_grad()
def converge_(model: nn.Module) -> None:
    """Make stored singular vectors fit their weights.

    By ten power iterations in float64.
    """
    state = model.state_dict()
    for name, weight in state.items():
        if name.endswith("weight_bar"):
            stored_u, stored_v = state[name.replace("_bar", "_u")], state[name.replace("_bar", "_v")]
            matrix, u = weight.double().flatten(1), stored_u.double()
            u = u / u.norm()
            for _ in range(10):
                v = matrix.T @ u
                v = v / v.norm()
                u = matrix @ v
                u = u / u.norm()
            stored_u.copy_(u)
            stored_v.copy_(v)


def inputs(arrays: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """uint8 image (B, 3, H, W) and trimap (B, 1, H, W) of a golden file."""
    image, trimap = torch.from_numpy(arrays["image"]), torch.from_numpy(arrays["trimap"])
    image = image if image.dim() == 4 else image[None]
    trimap = trimap if trimap.dim() == 3 else trimap[None]
    return image.permute(0, 3, 1, 2), trimap[:, None]
