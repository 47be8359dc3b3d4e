"""Peak memory and time of DiffMatte-ViTS_1024 in a fresh process.

As the formulas are written out, or in pieces.

python -m tools.reference.diffmatte_memory bounded 1920 2880
python -m tools.reference.diffmatte_memory whole 1024 1024      # every attention matrix and every map in memory
"""

import json
import sys
import time

import torch
from torch import Tensor

from modeling.base import Encoding
from modeling.diffmatte import DiffMatte
from modeling.inference.budget import Limits
from modeling.inference.executors import matte
from modeling.inputs import is_unknown
from tools.reference.aematter_memory import peak_mib
from tools.reference.diffmatte import filled
from tools.reference.published import encode


def run_whole(model: DiffMatte, image: Tensor, trimap: Tensor) -> Tensor:
    """`DiffMatte.forward` with an encoder that holds its attention matrices."""
    vit = model.backbone
    vit.forward = lambda inputs: Encoding(encode(vit, inputs, None).permute(0, 2, 3, 1))
    return model(image.float() / 255, trimap.float() / 255).alpha


@torch.inference_mode()
def measure(mode: str, height: int, width: int, steps: int = 2) -> dict[str, float]:
    """Seconds and memory of sampling an image, beyond the loaded model.

    A third of the image is a band of unknown pixels.
    """
    model = filled("vits_1024")
    model.strategy = model.strategy.parse(f"ddim{steps}")
    image = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)
    trimap = torch.zeros(1, 1, height, width, dtype=torch.uint8)
    trimap[..., height // 3 :, :] = 128
    trimap[..., 2 * height // 3 :, :] = 255
    before, start = peak_mib(), time.perf_counter()
    alpha = run_whole(model, image, trimap) if mode == "whole" else matte(model, image, trimap, Limits()).alpha
    unknown = alpha[is_unknown(trimap)].double()
    taken = {"peak_mib": peak_mib() - before, "seconds": time.perf_counter() - start}
    return {**taken, "alpha_mean": unknown.mean().item(), "alpha_std": unknown.std().item()}


if __name__ == "__main__":
    torch.manual_seed(0)
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
