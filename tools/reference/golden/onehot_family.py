"""Inference goldens of AEMatter and CheapMatting, and their networks under deterministic weights."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data.trimap import is_unknown
from modeling.aematter import AEMatter
from modeling.cheapmatting import CheapMatting
from modeling.inference.budget import Limits
from modeling.inference.executors import matte
from modeling.inference.tta import undo_view, views
from modeling.onehot import mirrored_input
from tools.reference.golden.check import Arrays, Quantity, largest_difference, share_of_tolerance
from tools.reference.weights import fill_

SMALLEST = Limits(chunk_tokens=64, tile_px=1)  # everything in the smallest pieces
# Stored features hold every n-th channel.
AEMATTER_STEPS = dict(
    stem_half=32,
    x1=24,
    x2=24,
    x3=24,
    x4=24,
    sem=16,
    emb=20,
    aeal1_padded=20,
    aeal2_padded=20,
    aeal3_padded=20,
    dec32=16,
    dec16=16,
    dec8=24,
    dec4=32,
    dec2=24,
)
CHEAPMATTING_STEPS = dict(
    stem00=12, stem05=12, stem10=6, ppm=8, decoder_layer3=16, decoder_layer2=16, decoder_layer1=16, decoder_layer0=16
)
CHEAPMATTING_STEPS |= {f"cell{i}": 24 for i in (0, 1, 3, 4, 5, 8, 9, 10, 13)}
AEMATTER_SLOPES = "start_conv0.1 start_conv.1 start_conv.3 conv5.1 conv5.3 conv5.5 convo.1 convo.3".split()


@torch.no_grad()
def golden_aematter() -> AEMatter:
    """AEMatter with the weights of its golden files."""
    model = AEMatter().eval()
    state = fill_(model.state_dict())
    for name in AEMATTER_SLOPES:
        state[f"{name}.weight"].mul_(0.25)
    for i in (1, 2, 3):
        state[f"trans{i}.gamma"].add_(0.5)
    state["convo.4.weight"].mul_(5.0)
    state["convo.4.bias"].fill_(0.5)
    return model


@torch.no_grad()
def golden_cheapmatting() -> CheapMatting:
    """CheapMatting with the weights of its golden files."""
    model = CheapMatting().eval()
    state = fill_(model.state_dict())
    for name in ("stem00.1", "stem00.3", "pred.1", "pred.3"):
        state[f"{name}.weight"].mul_(0.25)
    for name, value in state.items():
        if name.startswith("cells.") and name.endswith("running_var"):
            value.mul_(0.6)
    state["pred.4.weight"].mul_(1.2)
    state["pred.4.bias"].fill_(0.7)
    return model


def checksum(model: nn.Module) -> int:
    """Chained CRC-32 of all float tensors, in state dict order."""
    value = 0
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            value = zlib.crc32(tensor.numpy().astype("<f4").tobytes(), value)
    return value


def tensors(case: Arrays) -> tuple[Tensor, Tensor]:
    """uint8 image (1, 3, H, W) and trimap (1, 1, H, W) of a golden case."""
    return torch.from_numpy(case["image"]).permute(2, 0, 1)[None], torch.from_numpy(case["trimap"])[None, None]


def published_levels(alpha: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """Published last step: known regions enforced, unknown ones truncated to 8 bits."""
    return np.where(is_unknown(trimap), (255 * alpha).astype(np.uint8), np.where(trimap == 255, 255, 0)).astype(
        np.uint8
    )


def random_pair(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """uint8 image (1, 3, H, W) and trimap (1, 1, H, W) with all three values where there is room."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (1, 3, height, width), generator=generator, dtype=torch.uint8)
    level = torch.linspace(0, 1, width).view(1, 1, 1, width).expand(1, 1, height, width)
    trimap = torch.where(level < 0.2, 0, torch.where(level > 0.8, 255, 128)).to(torch.uint8)
    trimap[..., 0, 0] = 128
    return image, trimap


@contextmanager
def capture(modules: dict[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Record the outputs of modules under the given names."""
    found: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: found.__setitem__(name, output))
        for name, module in modules.items()
    ]
    yield found
    for handle in handles:
        handle.remove()


def aematter_pass(model: AEMatter, image: Tensor, trimap: Tensor) -> tuple[np.ndarray, dict[str, Tensor]]:
    """Whole-image alpha (H, W), and inner results by golden names."""
    modules = {"stem_half": model.start_conv, "pyramid": model.trans, "sem": model.apptrans, "emb": model.emb}
    modules |= {f"aeal{i}_padded": getattr(model, f"trans{i}") for i in (1, 2, 3)}
    decoder = ("dec32", "dec16", "dec8", "dec4")
    modules |= {name: getattr(model, f"ctran{i}") for i, name in enumerate(decoder)}
    with capture(modules | {"dec2": model.conv5}) as found:
        alpha = model(image, trimap).alpha[0, 0].numpy()
    found |= {f"x{i + 1}": x for i, x in enumerate(found.pop("pyramid"))}
    return alpha, found | {name: found[name].permute(0, 3, 1, 2) for name in decoder}


def cheapmatting_pass(model: CheapMatting, image: Tensor, trimap: Tensor) -> tuple[np.ndarray, dict[str, Tensor]]:
    """Whole-image alpha (H, W), and inner results by golden names."""
    modules = {name: getattr(model, name) for name in CHEAPMATTING_STEPS if not name.startswith("cell")}
    with capture(modules | {f"cell{i}": cell for i, cell in enumerate(model.cells)}) as found:
        alpha = model(image, trimap).alpha[0, 0].numpy()
    return alpha, found


@lru_cache(maxsize=1)
def build(kind: str) -> AEMatter | CheapMatting:
    """The network called `kind` with the weights of its golden files."""
    return {"aematter": golden_aematter, "cheapmatting": golden_cheapmatting}[kind]()


def check_inference(path: Path, arrays: Arrays) -> list[Quantity]:
    """Whole-image and bounded passes, levels, augmentation and features."""
    kind = path.name.split("_")[0]
    model = build(kind)
    image, trimap = tensors(arrays)
    unit = (image.float() / 255, trimap.float() / 255)
    unknown = is_unknown(arrays["trimap"])
    with torch.inference_mode():
        alpha, features = (aematter_pass if kind == "aematter" else cheapmatting_pass)(model, *unit)
        bounded = matte(model, image, trimap, SMALLEST).alpha[0, 0].numpy()
        quantities = [
            Quantity("alpha", largest_difference(alpha, arrays["alpha"]), 2e-5),
            Quantity("alpha (bounded)", largest_difference(bounded[unknown], arrays["alpha"][unknown]), 2e-5),
        ]
        if "alpha_raw" in arrays:
            raw = model.raw_alpha(mirrored_input(image, trimap)[0])[0, 0].numpy()
            quantities.append(Quantity("alpha_raw", largest_difference(raw, arrays["alpha_raw"]), 2e-5))
        if "alpha_u8" in arrays:
            quantities += compare_levels("alpha_u8", published_levels(alpha, arrays["trimap"]), arrays["alpha_u8"])
        if "alpha_tta_u8" in arrays:
            quantities += compare_levels("alpha_tta_u8", augmented_levels(model, image, trimap), arrays["alpha_tta_u8"])
    steps = AEMATTER_STEPS if kind == "aematter" else CHEAPMATTING_STEPS
    for key, stored in arrays.items():
        if key.startswith("feat_"):
            feature = key.removeprefix("feat_")
            found = features[feature][0, :: steps[feature]].numpy()
            quantities.append(share_of_tolerance(key, found, stored, absolute=2e-3, relative=1e-3))
    return quantities


def compare_levels(name: str, ours: np.ndarray, stored: np.ndarray) -> list[Quantity]:
    """At most one level, on at most 0.1 % of the pixels."""
    difference = np.abs(ours.astype(int) - stored.astype(int))
    return [
        Quantity(f"{name} (levels)", float(difference.max()), 1),
        Quantity(f"{name} (share of pixels)", float((difference > 0).mean()), 1e-3),
    ]


def augmented_levels(model: nn.Module, image: Tensor, trimap: Tensor) -> np.ndarray:
    """The published augmented evaluation: (H, W) uint8."""

    total = torch.zeros_like(trimap, dtype=torch.float32)
    for index, (image_view, trimap_view) in enumerate(zip(views(image), views(trimap), strict=True)):
        alpha = model(image_view.float() / 255, trimap_view.float() / 255).alpha
        alpha = alpha.masked_fill(trimap_view == 0, 0).masked_fill(trimap_view == 255, 1)
        total += (255 * undo_view(alpha, index)).floor()  # every view is cut down to whole levels, then their mean
    return (total / 8).floor()[0, 0].numpy().astype(np.uint8)
