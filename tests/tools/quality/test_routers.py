"""Routers with another share: exact counts, best or random tokens."""

import pytest
import torch

from modeling.backbone.routing import Router, decide, keep_maps
from tools.quality.routers import FixedShare, Shuffled

TOKENS = torch.randn(2, 8, 10, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def router() -> Router:
    """One that keeps about half."""
    torch.manual_seed(1)
    router = Router(16).requires_grad_(False)
    logp = router(TOKENS)
    router.out_conv[-1].bias[0] -= (logp[..., 0] - logp[..., 1]).median()
    return router


def kept(logp: torch.Tensor) -> torch.Tensor:
    return keep_maps(decide(logp, None), 8, 10)


@pytest.mark.parametrize("share, count", [(1.0, 80), (0.25, 20), (0.05, 4)])
def test_a_fixed_share_keeps_the_tokens_of_greatest_margin(router: Router, share: float, count: int) -> None:
    maps, logp = kept(FixedShare(router, share)(TOKENS)), router(TOKENS)
    assert maps.flatten(1).sum(1).tolist() == [count, count]
    margins = logp[..., 0] - logp[..., 1]
    if count < 80:
        assert all(margin[keep].min() >= margin[~keep].max() for margin, keep in zip(margins, maps, strict=True))


def test_shuffling_keeps_the_number_and_not_the_choice(router: Router) -> None:
    learnt, shuffled = kept(router(TOKENS)), kept(Shuffled(router, 3)(TOKENS))
    assert learnt.flatten(1).sum(1).tolist() == shuffled.flatten(1).sum(1).tolist()
    assert not torch.equal(learnt, shuffled)
    assert torch.equal(shuffled, kept(Shuffled(router, 3)(TOKENS)))


def test_a_share_out_of_range_is_refused(router: Router) -> None:
    with pytest.raises(ValueError, match="share is 0"):
        FixedShare(router, 0)
