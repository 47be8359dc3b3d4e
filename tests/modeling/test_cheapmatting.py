"""CheapMatting: the published entries; small images; half precision; folded batch norms."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from modeling.backbone.cells import operator
from modeling.cheapmatting import CheapMatting
from modeling.inference.budget import Limits
from modeling.inference.executors import matte, memory_cost
from modeling.inference.folding import fold_batch_norms_
from tools.reference.golden import onehot_family as goldens
from tools.reference.golden.files import key_list, load_golden, published_keys


@pytest.fixture(scope="module")
def model() -> CheapMatting:
    return goldens.build("cheapmatting")


@pytest.fixture(scope="module", autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_state_dict_is_the_published_one(model: CheapMatting):
    assert key_list(model) == published_keys("cheapmatting")
    assert goldens.checksum(model) == 0xC2FA335E


@pytest.mark.parametrize("size", [(1, 1), (15, 33), (64, 64), (96, 31)])
def test_bounded_equals_whole_at_any_size(model: CheapMatting, size: tuple[int, int]):
    image, trimap = goldens.random_pair(*size)
    whole = model(image.float() / 255, trimap.float() / 255).alpha
    bounded = matte(model, image, trimap, goldens.SMALLEST).alpha
    assert whole.shape == bounded.shape == (1, 1, *size)
    torch.testing.assert_close(bounded[trimap == 128], whole[trimap == 128], atol=2e-5, rtol=0)


def test_folded_batch_norms_change_nothing():
    case = load_golden("cheapmatting_b_157x235")
    image, trimap = goldens.tensors(case)
    folded = fold_batch_norms_(goldens.golden_cheapmatting()).to(memory_format=torch.channels_last)
    alpha = matte(folded, image, trimap, Limits()).alpha[0, 0].numpy()
    assert np.abs(alpha - case["alpha"])[case["trimap"] == 128].max() < 5e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_finite_in_half_precision_with_huge_inputs(model: CheapMatting, dtype: torch.dtype):
    image, trimap = goldens.random_pair(64, 64)
    with torch.autocast("cpu", dtype=dtype):
        assert model(100 * image.float() / 255, trimap.float() / 255).alpha.isfinite().all()


def test_half_precision_alpha_stays_close(model: CheapMatting):
    case = load_golden("cheapmatting_a_128x160")
    image, trimap = goldens.tensors(case)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        alpha = matte(model, image, trimap, Limits()).alpha[0, 0].numpy()
    assert np.abs(alpha - case["alpha"])[case["trimap"] == 128].mean() < 0.02


def test_only_the_unread_pooling_branch_takes_no_gradient():
    with torch.enable_grad():
        model = CheapMatting().train()
        image, trimap = (torch.cat([part, part]).float() / 255 for part in goldens.random_pair(96, 96))
        model(image, trimap).alpha.sum().backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {"ppm.conv.4.0.weight", "ppm.conv.4.0.bias"}
    assert not any(parameter.requires_grad for parameter in model.ppm.conv[4].parameters())


def test_unknown_operator_is_named():
    with pytest.raises(ValueError, match="pooled3"):
        operator("pooled3", 8, 1)


def test_cost_model_follows_the_image_and_the_limits(model: CheapMatting):
    base = memory_cost(model, 1000, 1000, Limits())
    assert memory_cost(model, 2000, 1000, Limits()) > base > memory_cost(model, 1000, 1000, Limits(tile_px=160 * 160))
