"""Inference goldens of MEMatte and ViTMatte."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from detectron2.config import LazyConfig, instantiate
from torch import Tensor

from modeling import ViTMatte
from modeling.base import Encoding
from modeling.inference import vit
from modeling.inference.budget import Limits
from modeling.inference.vitmatte import decode_boxes
from modeling.inputs import published_size
from modeling.tiles import Box, grid
from tools.reference.golden.check import Arrays, Quantity, largest_difference
from tools.reference.weights import fill_

CONFIGS = Path(__file__).parents[3] / "configs"
CONFIG_OF = {
    "mematte_s": "MEMatte_S_topk0.25_win_global_long.py",
    "mematte_b": "MEMatte_B_topk0.25_win_global_long.py",
    "vitmatte_s": "ViTMatte_S_100ep.py",
    "vitmatte_b": "ViTMatte_B_100ep.py",
}
TILE_CELLS = 16


def config_model(kind: str) -> ViTMatte:
    """The network of a published config, freshly initialised."""
    return instantiate(LazyConfig.load(str(CONFIGS / CONFIG_OF[kind])).model)


@lru_cache(maxsize=1)
def build(kind: str) -> ViTMatte:
    """The network of one variant (as `CONFIG_OF` names them) with the deterministic weights."""
    with torch.device("meta"):  # skips random weights that are overwritten anyway
        model = config_model(kind).to_empty(device="cpu")
    fill_(model.state_dict())
    return model.eval()


def check_inference(path: Path, arrays: Arrays) -> list[Quantity]:
    """Encoding and tiled decoding of the stored image, fully compared."""
    model = build("_".join(path.name.split("_")[:2]))
    image = torch.from_numpy(arrays["image"]).permute(2, 0, 1)[None]
    trimap = torch.from_numpy(arrays["trimap"])[None, None]
    cap = int(arrays["max_number_token"]) if "max_number_token" in arrays else None
    with torch.inference_mode():
        encoding = vit.encode(model.backbone, image, trimap, Limits(max_tokens=cap))
        alpha = decode_boxes(model, encoding, image, trimap, grid(*encoding.tokens.shape[1:3], TILE_CELLS))[0, 0]
        extended = _decode_extended(model, encoding, image, trimap) if "alpha_tiled" in arrays else None
    return _compare(arrays, alpha.numpy(), encoding, extended)


def _compare(arrays: Arrays, alpha: np.ndarray, encoding: Encoding, extended: Tensor | None) -> list[Quantity]:
    quantities = []

    def add(name: str, ours: np.ndarray, tolerance: float, scale: float = 1) -> None:
        if name in arrays:
            quantities.append(Quantity(name, largest_difference(ours, arrays[name] / scale), tolerance))

    height, width = alpha.shape
    features = encoding.features[0].numpy()
    add("feat_hw", np.array(features.shape[1:]), 0)
    add("padded_hw", np.array(published_size(height, width)), 0)
    add("alpha_whole", alpha, 1e-5)
    add("alpha_whole_bottom64_u16", alpha[-64:], 2e-5, 65535)
    add("alpha_whole_right64_u16", alpha[:, -64:], 2e-5, 65535)
    if "alpha_tiled_u16" in arrays:  # equal to the whole image away from the last 31 padded pixels
        inner = arrays["alpha_tiled_u16"][: height - 64, : width - 64] / 65535
        quantities.append(Quantity("alpha_tiled_u16 (inner)", largest_difference(alpha[:-64, :-64], inner), 2e-5))
    if extended is not None:
        add("alpha_tiled", extended.numpy(), 1e-5)
    add("features_probe", features[::16], 5e-4)
    add("features_f16", features, 2e-2)
    if encoding.keep:
        add("router_logp", np.concatenate([logp.numpy() for logp in encoding.router_logp]), 1e-5)
        add("router_keep", np.concatenate([keep.numpy() for keep in encoding.keep]), 0)
    return quantities


def _decode_extended(model: ViTMatte, encoding: Encoding, image: Tensor, trimap: Tensor) -> Tensor:
    """Published tiling: the decoder on zero-extended multiples of 512 px."""
    height, width = (-(-side // 32) * 32 for side in encoding.tokens.shape[1:3])
    tokens = torch.zeros(1, height, width, encoding.tokens.shape[-1])
    tokens[:, : encoding.tokens.shape[1], : encoding.tokens.shape[2]] = encoding.tokens
    return decode_boxes(model, Encoding(tokens), image, trimap, [Box(0, height, 0, width)])[0, 0]
