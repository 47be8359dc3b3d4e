"""Routers with another share of tokens, or with random tokens."""

import torch
from torch import Tensor, nn

from modeling.backbone.routing import Router
from modeling.inference.vit import token_scores


class FixedShare(nn.Module):
    """Router keeping a fixed share of the tokens, best ranked first."""

    def __init__(self, router: Router, share: float) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share is {share}; it must be above 0 and at most 1")
        self.router, self.share = router, share

    def forward(self, tokens: Tensor) -> Tensor:
        return self.rank(self.router(tokens))

    def rank(self, logp: Tensor) -> Tensor:
        """The router's log-probabilities (B, h, w, 2) -> those with the decisions of this module."""
        margins = (logp[..., 0] - logp[..., 1]).flatten(1)  # (B, N)
        return _keeping(margins, torch.full((len(margins),), round(self.share * margins.shape[1])), logp)


class Shuffled(nn.Module):
    """Router keeping as many tokens as the original, at random by seed."""

    def __init__(self, router: Router, seed: int) -> None:
        super().__init__()
        self.router = router
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.rank(self.router(tokens))

    def rank(self, logp: Tensor) -> Tensor:
        """The router's log-probabilities (B, h, w, 2) -> those with the decisions of this module."""
        counts = (logp[..., 0] > logp[..., 1]).flatten(1).sum(1)
        margins = torch.rand(logp[..., 0].flatten(1).shape, generator=self.generator)
        return _keeping(margins.to(logp.device), counts, logp)


@token_scores.register(FixedShare)
@token_scores.register(Shuffled)
def _(stand_in: FixedShare | Shuffled, tokens: Tensor, chunk_tokens: int) -> Tensor:
    return stand_in.rank(token_scores(stand_in.router, tokens, chunk_tokens))


def _keeping(ranks: Tensor, counts: Tensor, like: Tensor) -> Tensor:
    """Log-probabilities (B, h, w, 2) that keep the `counts` tokens of greatest rank."""
    margins = torch.full_like(ranks, -1.0)
    for row, rank, count in zip(margins, ranks, counts.tolist(), strict=True):
        row[rank.topk(count).indices] = 1.0
    logits = torch.stack([margins, -margins], dim=-1).view_as(like)
    return logits.log_softmax(dim=-1)
