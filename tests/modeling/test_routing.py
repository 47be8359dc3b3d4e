import pytest
import torch

from modeling.backbone.routing import LTRM, ChannelAttention, Router, decide, gumbel_policy, keep_maps
from modeling.inference.vit import refine, token_scores
from modeling.losses.terms import kept_ratio


def logp_of(margins: list[list[float]]) -> torch.Tensor:
    """(B, 1, N, 2) whose keep margins are those given."""
    margin = torch.tensor(margins)[:, None]
    return torch.stack([margin, torch.zeros_like(margin)], dim=-1)


def test_keeps_positive_margins_and_sends_ties_to_the_light_branch() -> None:
    assert decide(logp_of([[0.5, 0.0, -1.0, 2.0]]), None)[0].tolist() == [0, 3]


def test_the_cap_keeps_the_greatest_margins_in_grid_order() -> None:
    kept = decide(logp_of([[1.0, 3.0, -1.0, 2.0], [1.0, -1.0, -1.0, -1.0]]), 2)
    assert [index.tolist() for index in kept] == [[1, 3], [0]]


def test_of_equal_margins_the_earlier_token_is_kept() -> None:
    assert decide(logp_of([[1.0, 1.0, 1.0]]), 2)[0].tolist() == [0, 1]


def test_maps_mark_the_kept_tokens() -> None:
    maps = keep_maps([torch.tensor([0, 5]), torch.tensor([], dtype=torch.long)], 2, 3)
    assert maps.tolist() == [[[True, False, False], [False, False, True]], [[False] * 3] * 2]


@pytest.mark.parametrize(("dim", "size"), [(192, 5), (384, 5), (768, 5), (64, 3)])
def test_channel_attention_reaches_as_published(dim: int, size: int) -> None:
    assert ChannelAttention(dim).conv.kernel_size == (size,)


def test_router_and_light_branch_work_in_chunks() -> None:
    tokens = torch.randn(2, 9, 4, 32)
    router, branch = Router(32), LTRM(32)
    with torch.no_grad():
        for chunk_tokens in (1, 9, 16):
            torch.testing.assert_close(token_scores(router, tokens, chunk_tokens), router(tokens))
            torch.testing.assert_close(refine(branch, tokens, chunk_tokens), branch(tokens))


def test_the_router_stays_in_float32() -> None:
    router, tokens = Router(32), torch.randn(1, 3, 4, 32)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        half = router(tokens)
    assert half.dtype == torch.float32
    assert torch.equal(half, router(tokens))


@torch.no_grad()
def test_a_decisive_router_tells_tokens_apart_from_the_start() -> None:
    torch.manual_seed(0)
    router, tokens = Router(64), torch.randn(1, 20, 20, 64)
    assert router(tokens).exp()[..., 0].std() < 0.1
    router.initialise_decisive()
    probability = router(tokens).exp()[..., 0]
    assert probability.std() > 0.15 and 0.1 < (probability > 0.5).float().mean() < 0.9


def test_gumbel_policy_is_hard_forward_and_soft_backward() -> None:
    logp = torch.log_softmax(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), dim=-1).requires_grad_()
    noise = torch.tensor([[[0.0, 3.0], [0.5, 0.0]]])
    policy = gumbel_policy(logp, noise)
    assert policy.flatten().tolist() == [0.0, 0.0]
    policy.sum().backward()
    soft = (logp.detach() + noise).softmax(-1)[..., 0]
    torch.testing.assert_close(logp.grad[..., 0], soft * (1 - soft))


def test_kept_ratio_is_the_mean_over_blocks_of_means() -> None:
    policies = [torch.ones(2, 4, 4), torch.zeros(2, 4, 4)]
    assert float(kept_ratio(policies)) == 0.5
