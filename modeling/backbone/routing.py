"""Adaptive token routing: router, policy, light branch (LTRM).

The loss that holds the kept-token ratio (BATR) is `ratio_loss` in `modeling.losses.terms`.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import autocast_off


class Router(nn.Module):
    """Token scores in float32 from each token and the grid's mean.

    The attribute names are those of published checkpoints.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.in_conv = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU())
        self.out_conv = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, dim // 4), nn.GELU(), nn.Linear(dim // 4, 2)
        )

    def initialise_decisive(self) -> None:
        """Initial weights with which different tokens get different scores.

        The published ones give all the same; in a short training they stay so, and the branches never specialise.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, 2) log-probabilities; class 0 is "keep in global attention"."""
        with autocast_off(tokens.device):
            local, pooled = self.in_conv(tokens.float()).chunk(2, dim=-1)  # (B, h, w, C/2) each
            mean = pooled.mean(dim=(1, 2), keepdim=True, dtype=torch.float64).float()
            return F.log_softmax(self.out_conv(torch.cat([local, mean.expand_as(local)], dim=-1)), dim=-1)


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

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        hidden = F.gelu(self.fc1(tokens)).permute(0, 3, 1, 2)  # (B, 2C, h, w)
        refined = self.fc2(F.gelu(self.dwconv(hidden)).permute(0, 2, 3, 1))
        return refined * self.gate(refined)

    def gate(self, refined: Tensor) -> Tensor:
        """Factors (B, 1, 1, C) of refined tokens (B, h, w, C), from their mean over the grid."""
        mean = refined.mean(dim=(1, 2), dtype=torch.float32)  # (B, C)
        return 1 + self.eca(mean)[:, None, None].to(refined.dtype)


def sample_gumbel(logp: Tensor) -> Tensor:
    """Standard Gumbel noise of the shape of `logp`."""
    return -torch.empty_like(logp).exponential_().log()


def gumbel_policy(logp: Tensor, noise: Tensor) -> Tensor:
    """Hard sample with straight-through gradients, for training.

    Args:
        logp: (B, N, 2) log-probabilities.
        noise: (B, N, 2) Gumbel noise.

    Returns:
        (B, N, 1): 1 for tokens of class 0; the gradient is that of the soft probability.
    """
    soft = (logp + noise).softmax(dim=-1)
    hard = F.one_hot(soft.argmax(dim=-1), 2).to(soft.dtype)
    return (hard - soft.detach() + soft)[..., :1]


def decide(logp: Tensor, max_tokens: int | None = None) -> list[Tensor]:
    """Tokens of each image for global attention, in evaluation.

    A tie goes to the light branch. Where more than `max_tokens` want to stay, those with the greatest margin do
    (of equal ones the earlier).

    Args:
        logp: (B, h, w, 2).
        max_tokens: cap per image, or None.

    Returns:
        per image the sorted indices (n,) into the flattened grid.
    """
    if torch.jit.is_tracing():
        raise RuntimeError(
            "tracing freezes the routing of the example; tools/export_onnx.py writes a correct ONNX file"
        )
    margins = (logp[..., 0] - logp[..., 1]).flatten(1)  # (B, N)
    kept = [image.gt(0).nonzero()[:, 0] for image in margins]
    if max_tokens is None:
        return kept
    for image, (index, margin) in enumerate(zip(kept, margins, strict=True)):
        if len(index) > max_tokens:
            best = margin[index].argsort(descending=True, stable=True)[:max_tokens]
            kept[image] = index[best].sort().values
    return kept


def keep_maps(kept: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Indices from `decide` -> (B, height, width) bool."""
    maps = torch.zeros(len(kept), height * width, dtype=torch.bool, device=kept[0].device)
    for image, index in zip(maps, kept, strict=True):
        image[index] = True
    return maps.view(-1, height, width)
