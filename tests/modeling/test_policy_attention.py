"""Routed block in training: agreement with the plain block, and gradients."""

import pytest
import torch

from modeling.backbone.vit import Block
from tools.reference.golden.training import routed_backbone


@pytest.fixture(scope="module")
def backbone():
    return routed_backbone()


def test_with_all_tokens_routed_it_is_the_plain_block(backbone):
    routed, plain = backbone.blocks[2], Block(384, 6, 4.0, None, table_side=32, routed=False)
    plain.load_state_dict(routed.state_dict(), strict=False)  # relative positions stay at zero
    tokens = torch.randn(2, 5, 6, 384, generator=torch.manual_seed(0))
    torch.testing.assert_close(routed(tokens, torch.ones(2, 30, 1)), plain(tokens), rtol=0, atol=5e-5)


def test_gradients_reach_every_router_parameter(backbone):
    backbone.zero_grad()
    torch.manual_seed(0)
    backbone(torch.randn(2, 4, 64, 96)).tokens.square().mean().backward()
    for name, parameter in backbone.routers.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name
