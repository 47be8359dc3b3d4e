"""Sums of very many and very large values: finite and repeatable."""

import numpy as np
import pytest
import torch

from modeling.backbone.attention import attend_lean
from modeling.backbone.routing import LTRM, Router
from modeling.inference import vit as executor
from modeling.inference.predictor import Predictor
from modeling.inference.vit import token_scores
from tests.modeling.small import small_mematte

SIDE = 625  # tokens; 100 megapixels


def test_the_router_of_100_megapixels_has_an_exact_mean() -> None:
    """Half of its features are the grid's mean.

    Summed one by one in float32 it would be off by per cents.
    """
    torch.manual_seed(0)
    router = Router(8).eval()
    tokens = 1e4 + torch.randn(1, SIDE, SIDE, 8)
    with torch.no_grad():
        local = torch.cat([router.in_conv(rows).double() for rows in tokens[0].split(25)])
        mean = local[..., 4:].mean(dim=(0, 1)).float().expand(25, SIDE, 4)
        expected = router.out_conv(torch.cat([local[:25, :, :4].float(), mean], dim=-1)).log_softmax(-1)
        found = token_scores(router, tokens, 5000)
    torch.testing.assert_close(found[0, :25], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_pooling_100_megapixels_in_half_precision(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum of 10^10, where float16 ends at 65504.

    bfloat16 would stop counting at 256 tokens.
    """
    branch, value = LTRM(4), 30_000.0
    torch.nn.init.constant_(branch.eca.conv.weight, 1e-5)
    monkeypatch.setattr(
        executor, "refine_rows", lambda branch, tokens, skip, keep: tokens[:, skip : skip + keep].clone()
    )
    with torch.no_grad():
        found = executor.refine(branch, torch.full((1, SIDE, SIDE, 4), value, dtype=dtype), 50_000)
    reach = min(3, branch.eca.conv.weight.numel())  # channels that an inner one sees
    gate = 1 + torch.tensor(reach * value * 1e-5).sigmoid()
    assert found.isfinite().all()
    assert abs(found[0, 0, 0, 1].item() / (value * gate.item()) - 1) < 2**-7


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_attention_over_many_tokens_is_a_mean(dtype: torch.dtype) -> None:
    keys, values = torch.zeros(1, 1, 100_000, 8, dtype=dtype), torch.full((1, 1, 100_000, 8), 3.0, dtype=dtype)
    found = attend_lean(torch.ones(1, 1, 4, 8, dtype=dtype), keys, values)
    torch.testing.assert_close(found.float(), torch.full((1, 1, 4, 8), 3.0), rtol=2**-7, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_attention_with_large_logits_stays_between_its_values(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 500, 16).to(dtype) for _ in range(3))
    found = attend_lean(q * 1e4, k * 1e4, v)
    assert found.isfinite().all()
    assert found.amin() >= v.amin() and found.amax() <= v.amax()


def test_the_same_input_gives_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (70, 90, 3), np.uint8)
    trimap = rng.choice(np.array([0, 128, 255], np.uint8), (70, 90))
    predictor = Predictor(small_mematte(), device="cpu")
    first = predictor.predict(image, trimap)
    predictor.predict(image[:33, :47], trimap[:33, :47])  # nothing of another image stays behind
    assert np.array_equal(predictor.predict(image, trimap), first)
    assert np.array_equal(Predictor(small_mematte(), device="cpu").predict(image, trimap), first)


def test_a_result_that_is_not_finite_is_an_error() -> None:
    model = small_mematte()
    torch.nn.init.constant_(model.decoder.matting_head.matting_convs[3].bias, float("nan"))
    with pytest.raises(ValueError, match=r"not finite in torch.float32: compute in fp32, or take another checkpoint"):
        Predictor(model, device="cpu").predict(np.zeros((20, 20, 3), np.uint8), np.full((20, 20), 128, np.uint8))
