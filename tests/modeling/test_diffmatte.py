import numpy as np
import pytest
import torch

from modeling.budget import Limits
from modeling.diffmatte import DiffMatte
from modeling.diffusion import Strategy
from modeling.diffusion_tiles import TiledEstimate, image_and_classes, trimap_classes, whole_window
from modeling.losses import matting_losses
from tests.reference.diffmatte import CONFIGS, build, filled, golden, inputs, published_keys

SAMPLED = [
    "res34_75x101_ddim10", "swin_t_90x125_ddim10", "vits_1024_70x100_ddim2", "vits_226x230_ddim2",
    "vits_64x90_ddpm4", "vits_75x101_ddim10", "vits_75x101_ddim3", "vits_96x128_ddim1", "vits_96x128_ddim10",
    "vitb_64x90_ddim10",
]  # fmt: skip


def given(*draws):
    """A noise source that returns known draws."""
    remaining = iter(draws)
    return lambda shape: torch.from_numpy(next(remaining))


@pytest.mark.parametrize("variant", CONFIGS)
def test_state_dict_is_the_published_one(variant):
    with torch.device("meta"):
        state = build(variant).state_dict()
    found = [[name, list(value.shape), str(value.dtype).removeprefix("torch.")] for name, value in state.items()]
    assert found == published_keys(variant)


@torch.no_grad()
@pytest.mark.parametrize("name", SAMPLED)
def test_sampling_equals_the_published_code(name, monkeypatch):
    arrays = golden(name)
    model = filled(str(arrays["variant"]))
    monkeypatch.setattr(model, "strategy", Strategy.parse(str(arrays["strategy"])))
    image, trimap = inputs(arrays)
    noise = given(arrays["noise"], *arrays.get("step_noise", []))
    output = model(image / 255, trimap / 255, noise)
    np.testing.assert_allclose(output.alpha[0, 0], arrays["alpha_before"], atol=5e-6, rtol=0)
    if "features" in arrays:
        tolerance = {"atol": 5e-4, "rtol": 0} if "res34" in name else {"atol": 5e-3, "rtol": 1e-3}
        np.testing.assert_allclose(output.features[0], arrays["features"].astype(np.float32), **tolerance)
