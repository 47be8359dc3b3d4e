"""Inference, training and foreground estimation on a simulated CUDA device.

For every network.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from modeling.aematter import AEMatter
from modeling.backbone.resnet import ResNet34D
from modeling.backbone.swin import SwinStage
from modeling.backbone.vit import ViT
from modeling.base import MattingNetwork
from modeling.cheapmatting import CheapMatting
from modeling.decoder.diffusion_decoder import DiffusionDecoder
from modeling.diffmatte import DiffMatte
from modeling.foreground import estimate_foreground
from modeling.inference import executors
from modeling.inference.predictor import Predictor
from modeling.losses.criteria import (
    AEMatterCriterion,
    DiffMatteCriterion,
    MEDiffMatteCriterion,
    MEMatteCriterion,
    ViTMatteCriterion,
)
from modeling.precision import DType
from tests.modeling.inference.test_predictor import pair
from tests.modeling.simulated_cuda import OnCuda, move_, simulated_cuda
from tests.modeling.small import filled, small_mematte, small_vit, small_vitmatte
from tests.modeling.test_diffmatte import small as small_diffmatte
from tests.modeling.test_mediffmatte import SIZES
from tests.modeling.test_mediffmatte import small as small_mediffmatte

HEIGHT, WIDTH = 48, 64


def taught_mematte() -> MattingNetwork:
    model = small_mematte()
    model.attach_teacher(small_vit(routed=False))
    return model


def taught_mediffmatte() -> MattingNetwork:
    model = small_mediffmatte(sample_strategy="ddim2")
    model.attach_teacher(ViT(**SIZES))
    return model


def diffmatte_resnet() -> MattingNetwork:
    decoder = DiffusionDecoder([7, 8, 8, 8, 8], [512, 8, 8, 8, 8, 8])
    return DiffMatte(ResNet34D(depths=(1, 1, 1, 1)), decoder, sample_strategy="ddim2").eval()


def short_aematter() -> MattingNetwork:
    """AEMatter with two blocks per stage, one of them shifted.

    The widths are fixed, and further blocks repeat.
    """
    model = AEMatter().eval()
    for stage in model.modules():
        if isinstance(stage, SwinStage):
            del stage.blocks[2:]
    return model


NETWORKS: dict[str, tuple[Callable[[], MattingNetwork], Callable]] = {
    "mematte": (taught_mematte, MEMatteCriterion()),
    "vitmatte": (small_vitmatte, ViTMatteCriterion()),
    "vitmatte with prior": (lambda: small_vitmatte(prior=True), ViTMatteCriterion()),
    "diffmatte": (lambda: small_diffmatte(sample_strategy="ddpm2"), DiffMatteCriterion()),
    "diffmatte swin": (lambda: small_diffmatte("swin", sample_strategy="ddim2"), DiffMatteCriterion()),
    "diffmatte resnet": (diffmatte_resnet, DiffMatteCriterion()),
    "mediffmatte": (taught_mediffmatte, MEDiffMatteCriterion(keep_ratio=0.25)),
    "aematter": (short_aematter, AEMatterCriterion()),
    "cheapmatting": (lambda: filled(CheapMatting()), AEMatterCriterion()),
}
ON_DEVICE = pytest.mark.parametrize("name", NETWORKS)


def test_the_device_refuses_what_cuda_would() -> None:
    with simulated_cuda() as device:
        there, here = torch.ones(3, device=device), torch.ones(3)
        assert isinstance(there, OnCuda) and there.device.type == "cuda" and (there + 1).device.type == "cuda"
        assert (there * torch.tensor(2.0)).tolist() == [2, 2, 2]  # a number without dimensions
        with pytest.raises(RuntimeError, match="expected all tensors to be on the same device"):
            there + here
        with pytest.raises(TypeError, match="can't convert cuda"):
            there.numpy()
        assert torch.equal((there + here.to(device)).cpu(), torch.full((3,), 2.0))


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [*((name, "fp32", 1e-5) for name in NETWORKS), *((name, "bf16", 5e-3) for name in ("mematte", "aematter"))],
)
def test_inference(name: str, dtype: DType, tolerance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without inference mode, which tensors of such a class do not know."""
    image, trimap = pair(HEIGHT, WIDTH)
    predictor = Predictor(NETWORKS[name][0](), device="cpu", dtype=dtype, working_size="full")
    expected = predictor.predict(image, trimap, "a")
    monkeypatch.setattr("modeling.inference.predictor.matte", executors.matte.__wrapped__)
    monkeypatch.setattr(Predictor, "_compute", Predictor._compute.__wrapped__)
    with simulated_cuda() as device, torch.no_grad():
        move_(predictor.model)
        predictor.device = device
        alpha = predictor.predict(image, trimap, "a")
    np.testing.assert_allclose(alpha, expected, rtol=0, atol=tolerance)


@ON_DEVICE
def test_training_step(name: str) -> None:
    """In bf16, as the trainer computes it on a GPU."""
    build, criterion = NETWORKS[name]
    side = 64
    generator = torch.Generator().manual_seed(0)
    image, alpha = (torch.rand(2, channels, side, side, generator=generator) for channels in (3, 1))
    trimap = torch.full((2, 1, side, side), 0.5)
    trimap[..., :8], trimap[..., -8:] = 0, 1
    model = move_(build().train())
    with simulated_cuda() as device:
        inputs = [part.to(device) for part in (image, trimap, alpha)]
        known = {"alpha": inputs[2], "iteration": 0}
        with torch.autocast(device.type, torch.bfloat16):
            output = model(*inputs[:2], **{name: known[name] for name in model.training_inputs})
        losses = criterion(output, inputs[2], inputs[1])
        sum(losses.values()).backward()
    trained = [part for part in model.parameters() if part.requires_grad and part.grad is not None]
    assert len(trained) > 10 and all(isinstance(part.grad, OnCuda) for part in trained)


def test_foreground_estimation() -> None:
    image, trimap = pair(70, 90)
    alpha = torch.from_numpy(trimap).float() / 255
    expected = estimate_foreground(torch.from_numpy(image), alpha)
    with simulated_cuda() as device:
        found = estimate_foreground(torch.from_numpy(image).to(device), alpha.to(device)).cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
