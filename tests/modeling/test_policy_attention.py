"""The routed block in training: published values, and its agreement with the plain block and with inference."""

import numpy as np
import pytest
import torch

from modeling.backbone.attention import policy_softmax
from modeling.backbone.block import Block
from modeling.backbone.vit import ViT
from modeling.budget import Limits
from tests.golden_files import load_golden
from tests.reference.weights import fill_

PROBE = 4  # golden outputs hold every fourth channel


@pytest.fixture(scope="module")
def golden():
    return {name: torch.from_numpy(np.asarray(value)) for name, value in load_golden("policy_attention").items()}


@pytest.fixture(scope="module")
def backbone():
    """MEMatte-S up to its first routed block, with the golden weights."""
    vit = ViT(depth=3, global_blocks=[2], routed=True)
    named = {f"backbone.{name}": value for name, value in vit.state_dict().items()}
    fill_(named)
    return vit.train()


def close(actual, wanted, atol=1e-5):
    torch.testing.assert_close(actual[..., ::PROBE] if actual.shape[-1] == 384 else actual, wanted, rtol=0, atol=atol)


@pytest.mark.parametrize(("policy", "out"), [("policy", "attn_out"), ("soft_policy", "attn_out_soft")])
def test_attention(golden, backbone, policy, out):
    tokens = golden["x"].flatten(1, 2)
    attended = backbone.blocks[2].attn.over_policy(tokens, golden[policy].float()).unflatten(1, (4, 5))
    close(attended, golden[out])


def test_softmax(golden):
    close(policy_softmax(golden["attn_logits"], golden["policy"].float()), golden["softmax_policy"], 1e-6)


def test_light_branch_and_router(golden, backbone):
    close(backbone.blocks[2].efficient_block(golden["x"]), golden["ltrm_out"])
    close(backbone.routers[0](golden["x"]).flatten(1, 2), golden["router0_logp"])


def test_block(golden, backbone):
    block, policy = backbone.blocks[2], golden["policy"].float()
    close(block(golden["x"], policy), golden["block2_train_out"], 2e-5)
    with torch.no_grad():
        kept = [golden["policy"][0, :, 0].nonzero()[:, 0]]
        close(block.infer_(golden["x"][:1].clone(), Limits(), kept), golden["block2_infer_out_image0"], 2e-5)


def test_with_all_tokens_routed_it_is_the_plain_block(backbone):
    routed, plain = backbone.blocks[2], Block(384, 6, 4.0, None, table_side=32, routed=False)
    plain.load_state_dict(routed.state_dict(), strict=False)  # relative positions stay at zero
    tokens = torch.randn(2, 5, 6, 384, generator=torch.manual_seed(0))
    close(routed(tokens, torch.ones(2, 30, 1)), plain(tokens)[..., ::PROBE], 5e-5)


def test_gradients_reach_every_router_parameter(backbone):
    backbone.zero_grad()
    torch.manual_seed(0)
    backbone(torch.randn(2, 4, 64, 96)).tokens.square().mean().backward()
    for name, parameter in backbone.routers.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name
