"""Swin-T with prior tokens (the MatteFormer encoder): windows also attend to the means of the trimap's areas."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..inference.budget import Limits
from .swin import PatchEmbed, SwinStage
from .vit import Encoding

PATCH_SIZE = 4
# The order of the slots only matters for the learnt position bias: unknown, background, foreground.
SLOTS = (1, 0, 2)


def area_means(tokens: Tensor, areas: Tensor) -> Tensor:
    """Mean token of each area, zero where it is empty: tokens (B, H, W, C), areas (B, K, H, W) -> (B, K, C)."""
    weights = areas.flatten(2).float()  # (B, K, N)
    sums = weights @ tokens.flatten(1, 2).float()
    return (sums / (weights.sum(dim=-1, keepdim=True) + 1e-9)).to(tokens.dtype)


class PriorSwin(nn.Module):
    """(B, 6, H, W), image and trimap classes -> (B, 8 * embed_dim, H / 32, W / 32).

    Args:
        drop_path: stochastic depth of the last block in training; grows linearly from 0.
    """

    def __init__(
        self,
        in_channels: int = 6,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        drop_path: float = 0.3,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(in_channels, embed_dim, PATCH_SIZE, PATCH_SIZE, padding=0)
        rates = torch.linspace(0, drop_path, sum(depths), device="cpu").split(list(depths))
        self.layers = nn.ModuleList(
            SwinStage(
                embed_dim * 2**i,
                num_heads[i],
                depth,
                prior_sets=len(SLOTS),
                drop_path=rates[i].tolist(),
                downsample=i < len(depths) - 1,
            )
            for i, depth in enumerate(depths)
        )

    def forward(self, x: Tensor, limits: Limits | None = None) -> Encoding:
        """`limits` bound the tokens that a block works on at once; the result is the same."""
        chunk_tokens = None if limits is None else limits.chunk_tokens
        areas = x[:, [3 + slot for slot in SLOTS], ::PATCH_SIZE, ::PATCH_SIZE]  # (B, 3, H/4, W/4)
        tokens = self.patch_embed(x)
        for stage in self.layers:
            prior = tokens.new_zeros(tokens.shape[0], 0, tokens.shape[3])
            for block in stage.blocks:
                prior = torch.cat([prior, area_means(tokens, areas)], dim=1)  # (B, 3 * (n + 1), C)
                tokens = block(tokens, prior, chunk_tokens)
                prior = block.update_prior(prior)
            if stage.downsample is not None:
                tokens, areas = stage.downsample(tokens), areas[:, :, ::2, ::2]
        return Encoding(tokens)

    def memory_cost(self, height: int, width: int, limits: Limits) -> int:
        """Upper estimate in bytes for a feature of height x width cells: the input and the first stage's tokens."""
        dim = self.patch_embed.proj.out_channels
        pixels = 32**2 * height * width
        tokens = pixels // PATCH_SIZE**2
        band = min(max(limits.chunk_tokens, 7 * tokens // (8 * height)), tokens)  # at least one row of windows
        return 4 * (3 * self.patch_embed.proj.in_channels * pixels + 4 * dim * tokens + 24 * dim * band)
