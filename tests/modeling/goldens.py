"""Published networks under deterministic weights, and how their golden files are compared."""

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from modeling.aematter import AEMatter
from modeling.cheapmatting import CheapMatting
from tests.reference.weights import fill_

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
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
    """Chained CRC-32 of all float tensors in the order of the state dict."""
    value = 0
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            value = zlib.crc32(tensor.numpy().astype("<f4").tobytes(), value)
    return value


def key_list(model: nn.Module) -> list[list]:
    """Names, shapes and types in the form of the published key lists."""
    return [[name, list(t.shape), str(t.dtype).removeprefix("torch.")] for name, t in model.state_dict().items()]


def published_keys(name: str) -> list[list]:
    return json.loads((GOLDEN / f"{name}.keys.json").read_text())


def load(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / f"{name}.npz"))


def tensors(case: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """uint8 image (1, 3, H, W) and trimap (1, 1, H, W) of a golden case."""
    return torch.from_numpy(case["image"]).permute(2, 0, 1)[None], torch.from_numpy(case["trimap"])[None, None]


def published_levels(alpha: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """The published last step: known regions enforced, unknown ones cut down to 8 bits."""
    return np.where(trimap == 128, (255 * alpha).astype(np.uint8), np.where(trimap == 255, 255, 0)).astype(np.uint8)


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


def assert_features(found: dict[str, Tensor], case: dict[str, np.ndarray], every: dict[str, int]) -> None:
    """Compare every n-th channel of the recorded outputs with the features of a golden case."""
    names = [name for name in every if f"feat_{name}" in case]
    assert len(names) == sum(name.startswith("feat_") for name in case)
    for name in names:
        feature, expected = found[name][0, :: every[name]].numpy(), case[f"feat_{name}"].astype(np.float32)
        np.testing.assert_allclose(feature, expected, atol=2e-3, rtol=1e-3, err_msg=name)
