"""Swin-T with prior tokens, the MatteFormer encoder.

Windows also attend to the means of the trimap's three areas.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..base import Encoder, Encoding
from .swin import NormedPatchEmbed, SwinStage

PATCH_SIZE = 4
# The order of the slots only matters for the learnt position bias: unknown, background, foreground.
SLOTS = (1, 0, 2)


def area_means(tokens: Tensor, areas: Tensor) -> Tensor:
    """Mean token of each area, zero where it is empty: tokens (B, H, W, C), areas (B, K, H, W) -> (B, K, C)."""
    weights = areas.flatten(2).float()  # (B, K, N)
    sums = weights @ tokens.flatten(1, 2).float()
    return (sums / (weights.sum(dim=-1, keepdim=True) + 1e-9)).to(tokens.dtype)


class PriorSwin(Encoder):
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
        self.patch_embed = NormedPatchEmbed(in_channels, embed_dim, PATCH_SIZE, PATCH_SIZE, padding=0)
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

    def forward(self, inputs: Tensor) -> Encoding:
        """Encode (B, 6, H, W)."""
        areas, tokens = self.areas(inputs), self.patch_embed(inputs)
        for stage in self.layers:
            prior = tokens.new_zeros(tokens.shape[0], 0, tokens.shape[3])
            for block in stage.blocks:
                prior = torch.cat([prior, area_means(tokens, areas)], dim=1)  # (B, 3 * (n + 1), C)
                tokens = self.apply_part(block, tokens, prior)
                prior = block.update_prior(prior)
            if stage.downsample is not None:
                tokens, areas = stage.downsample(tokens), areas[:, :, ::2, ::2]
        return Encoding(tokens)

    def areas(self, inputs: Tensor) -> Tensor:
        """Masks of unknown, background and foreground at the resolution of the tokens, (B, 3, H/4, W/4)."""
        return inputs[:, [3 + slot for slot in SLOTS], ::PATCH_SIZE, ::PATCH_SIZE]
