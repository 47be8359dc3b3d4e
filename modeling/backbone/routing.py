"""Adaptive token routing: who decides (Router), where the others go (LTRM), how many are kept (BATR)."""

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from ..inference.strips import row_strips, rows_within


class Router(nn.Module):
    """Scores every token from its own content and the mean of the grid; always in float32.

    The attribute names are those of published checkpoints.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.in_conv = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU())
        self.out_conv = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, dim // 4), nn.GELU(), nn.Linear(dim // 4, 2)
        )

    def initialise_decisive(self) -> None:
        """Weights with which tokens of different content get different scores from the start.

        The published ones give all the same; in a short training they stay so, and the branches never specialise.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, tokens: Tensor, chunk_tokens: int | None = None) -> Tensor:
        """(B, h, w, C) -> (B, h, w, 2) log-probabilities; class 0 is "keep in global attention"."""
        _, height, width, dim = tokens.shape
        rows = rows_within(width, chunk_tokens) if chunk_tokens else height
        with torch.autocast(tokens.device.type, enabled=False):
            local, total = [], 0.0
            for strip in row_strips(height, rows):
                part = self.in_conv(tokens[:, strip.start : strip.stop].float())
                local.append(part[..., : dim // 2].contiguous())  # lets go of the other half
                total = total + part[..., dim // 2 :].sum(dim=(1, 2), keepdim=True, dtype=torch.float64)
            mean = (total / (height * width)).float()  # (B, 1, 1, C/2)
            logits = [self.out_conv(torch.cat([part, mean.expand_as(part)], dim=-1)) for part in local]
            return F.log_softmax(torch.cat(logits, dim=1), dim=-1)


class ChannelAttention(nn.Module):
    """Scales each channel by a gate from its neighbours' means (efficient channel attention)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        size = int(abs(math.log2(dim) / 2 + 0.5))
        size += 1 - size % 2
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, mean: Tensor) -> Tensor:
        """Channel means (B, C) -> gates (B, C) in (0, 1)."""
        return self.conv(mean[:, None]).sigmoid()[:, 0]


class LTRM(nn.Module):
    """Lightweight Token Refinement Module: the branch of tokens that skip global attention."""

    HALO = 2  # rows that the 5x5 convolution reaches

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 2 * dim)
        self.dwconv = nn.Conv2d(2 * dim, 2 * dim, 5, padding=self.HALO, groups=2 * dim)
        self.fc2 = nn.Linear(2 * dim, dim)
        self.eca = ChannelAttention(dim)

    def forward(self, tokens: Tensor, chunk_tokens: int | None = None) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C), a strip of rows at a time where `chunk_tokens` says so."""
        _, height, width, _ = tokens.shape
        rows = rows_within(width, chunk_tokens) if chunk_tokens else height
        if rows >= height:
            refined = self._refine(tokens, 0, height)
        else:
            refined = torch.empty_like(tokens)
            for strip in row_strips(height, rows, self.HALO):
                part = tokens[:, strip.first : strip.last]
                skip, keep = strip.start - strip.first, strip.stop - strip.start
                refined[:, strip.start : strip.stop] = self._refine(part, skip, keep)
        mean = refined.mean(dim=(1, 2), dtype=torch.float32)  # (B, C)
        gate = 1 + self.eca(mean)[:, None, None].to(refined.dtype)
        return refined * gate if torch.is_grad_enabled() else refined.mul_(gate)

    def _refine(self, tokens: Tensor, skip: int, keep: int) -> Tensor:
        """Refine rows `skip:skip + keep` of `tokens`; the rows around them are context."""
        hidden = F.gelu(self.fc1(tokens)).permute(0, 3, 1, 2)  # (B, 2C, h, w)
        hidden = self.dwconv(hidden)[:, :, skip : skip + keep]
        return self.fc2(F.gelu(hidden).permute(0, 2, 3, 1))


def decide(logp: Tensor, max_tokens: int | None) -> list[Tensor]:
    """Choose, image by image, the tokens that go to global attention.

    A tie goes to the light branch. Where more than `max_tokens` want to stay, those with the greatest margin do
    (of equal ones the earlier).

    Args:
        logp: (B, h, w, 2).
        max_tokens: cap per image, or None.

    Returns:
        per image the sorted indices (n,) into the flattened grid.
    """
    margins = (logp[..., 0] - logp[..., 1]).flatten(1)  # (B, N)
    kept = [image.gt(0).nonzero()[:, 0] for image in margins]
    if max_tokens is None:
        return kept
    return [
        index if len(index) <= max_tokens
        else index[margin[index].argsort(descending=True, stable=True)[:max_tokens]].sort().values
        for index, margin in zip(kept, margins, strict=True)
    ]  # fmt: skip


def keep_maps(kept: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Indices from `decide` -> (B, height, width) bool."""
    maps = torch.zeros(len(kept), height * width, dtype=torch.bool, device=kept[0].device)
    for image, index in zip(maps, kept, strict=True):
        image[index] = True
    return maps.view(-1, height, width)


def sample_gumbel(logp: Tensor) -> Tensor:
    """Standard Gumbel noise of the shape of `logp`."""
    return -torch.empty_like(logp).exponential_().log()


def gumbel_policy(logp: Tensor, noise: Tensor) -> Tensor:
    """Hard sample with straight-through gradients.

    Args:
        logp: (B, N, 2) log-probabilities.
        noise: (B, N, 2) Gumbel noise.

    Returns:
        (B, N, 1): 1 for tokens of class 0; the gradient is that of the soft probability.
    """
    soft = (logp + noise).softmax(dim=-1)
    hard = F.one_hot(soft.argmax(dim=-1), 2).to(soft.dtype)
    return (hard - soft.detach() + soft)[..., :1]


def mean_over_processes(value: Tensor) -> Tensor:
    """Mean of a tensor over all training processes, without gradient; `value` itself where there is one process."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return value.detach()
    mean = value.detach().clone()
    dist.all_reduce(mean)
    return mean / dist.get_world_size()


def kept_ratio(policies: Sequence[Tensor]) -> Tensor:
    """Share of routed tokens over blocks, batch and processes (what BATR holds to its target).

    Its value is that of the global batch; its gradient is that of this process' share, so that averaging gradients over
    processes gives the gradient of the global ratio.
    """
    own = torch.stack([policy.float().mean() for policy in policies]).mean()
    return own + (mean_over_processes(own) - own.detach())
