"""Swin Transformer: windows of tokens, shifted in every second block.

Differences from the widespread implementations, all needed to reproduce published matting weights: the shift and its
mask apply even when the map is no larger than one window, tokens are zero-padded after the first normalisation and
the padding is not masked, and a block may attend to extra "prior" tokens that belong to the image, not to a window.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..base import Recomputing
from .attention import attend_precise
from .vit import Mlp

MASKED_LOGIT = -100.0  # the published finite value; -inf would give other outputs


def relative_position_index(window: int, prior_tokens: int = 0) -> Tensor:
    """Row of the bias table for every (query, key) pair of a window: (window**2, window**2 + prior_tokens) int64."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    y, x = y.flatten(), x.flatten()
    dy = y[:, None] - y[None, :] + window - 1
    dx = x[:, None] - x[None, :] + window - 1
    prior = torch.arange(prior_tokens) + (2 * window - 1) ** 2
    return torch.cat([dy * (2 * window - 1) + dx, prior.expand(window**2, -1)], dim=1)


def shift_regions(size: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Region labels (size,) of one axis of the shifted map: 0, 1, 2."""
    position = torch.arange(size, device=device)
    return (position >= size - window).long() + (position >= size - shift).long()


def to_windows(tokens: Tensor, window: int) -> Tensor:
    """(B, H, W, C) with H, W multiples of `window` -> (B, nH * nW, window**2, C)."""
    return rearrange(tokens, "b (r y) (c x) d -> b (r c) (y x) d", y=window, x=window)


def from_windows(windows: Tensor, window: int, width: int) -> Tensor:
    """Inverse of `to_windows`: (B, nW, window**2, C) -> (B, H, width, C)."""
    return rearrange(windows, "b (r c) (y x) d -> b (r y) (c x) d", y=window, c=width // window)


def shift_mask(rows: Tensor, columns: Tensor, window: int) -> Tensor:
    """Logit mask (nW, N, N) between regions that shifting brings together.

    `regions` are labels of `shift_regions`.
    """
    label = to_windows((3 * rows[:, None] + columns[None, :])[None, ..., None], window)[0, ..., 0]  # (nW, N)
    return torch.where(label[:, :, None] != label[:, None, :], MASKED_LOGIT, 0.0)


def keep_samples(tokens: Tensor, rate: float, training: bool) -> Tensor | float:
    """Stochastic depth: one factor per sample, 0 with probability `rate`, else 1 / (1 - rate)."""
    if not training or rate == 0.0:
        return 1.0
    shape = (tokens.shape[0],) + (1,) * (tokens.dim() - 1)
    return torch.bernoulli(torch.full(shape, 1 - rate, device=tokens.device)) / (1 - rate)


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, with a learnt bias per relative position."""

    def __init__(self, dim: int, num_heads: int, window: int = 7, prior_tokens: int = 0):
        super().__init__()
        self.num_heads = num_heads
        rows = (2 * window - 1) ** 2 + prior_tokens
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, num_heads))
        self.register_buffer("relative_position_index", relative_position_index(window, prior_tokens))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, windows: Tensor, mask: Tensor | None = None, prior: Tensor | None = None) -> Tensor:
        """Attention inside each window, and to the prior tokens of its image.

        Args:
            windows: (B, nW, N, C).
            mask: (nW, N, N) added to the logits between window tokens.
            prior: (B, P, C), extra keys and values after the window's own.
        """
        batch, count, length, dim = windows.shape
        q, k, v = self._heads(self.qkv(windows))  # each (B, nW, heads, N, d)
        if prior is not None:
            _, prior_k, prior_v = self._heads(self.qkv(prior).unsqueeze(1))  # each (B, 1, heads, P, d)
            k = torch.cat([k, prior_k.expand(-1, count, -1, -1, -1)], dim=-2)
            v = torch.cat([v, prior_v.expand(-1, count, -1, -1, -1)], dim=-2)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)  # (heads, N, N + P)
        if mask is not None:
            bias = bias + F.pad(mask, (0, k.shape[-2] - length)).unsqueeze(1)  # (nW, heads, N, N + P)
        out = attend_precise(q, k, v, bias).transpose(2, 3).reshape(batch, count, length, dim)
        return self.proj(out)

    def values(self, tokens: Tensor) -> Tensor:
        """Result for a token that attends only to itself: (..., C) -> (..., C)."""
        dim = tokens.shape[-1]
        bias = self.qkv.bias[2 * dim :]
        return self.proj(F.linear(tokens, self.qkv.weight[2 * dim :], bias))

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, nW, N, 3C) -> three of (B, nW, heads, N, C / heads)."""
        return qkv.unflatten(-1, (3, self.num_heads, -1)).permute(3, 0, 1, 4, 2, 5).unbind(0)


class SwinBlock(nn.Module):
    """Window attention and MLP, both pre-norm and residual.

    Args:
        shift: 0, or half a window (rounded down) in every second block.
        prior_tokens: number of extra key/value tokens `forward` will be given.
        drop_path: probability to skip a residual branch for a sample in training.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window: int = 7,
        shift: int = 0,
        mlp_ratio: float = 4.0,
        prior_tokens: int = 0,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.window, self.shift, self.drop_path = window, shift, drop_path
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window, prior_tokens)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, tokens: Tensor, prior: Tensor | None = None) -> Tensor:
        """Transform a token map.

        Args:
            tokens: (B, H, W, C).
            prior: (B, P, C) image-level tokens, not yet normalised.
        """
        _, height, width, _ = tokens.shape
        keep = [keep_samples(tokens, self.drop_path, self.training) for _ in range(2)]
        padded = F.pad(self.norm1(tokens), (0, 0, 0, -width % self.window, 0, -height % self.window))
        shifted = padded.roll((-self.shift, -self.shift), dims=(1, 2))
        mask = None
        if self.shift:
            sides = shifted.shape[1:3]
            labels = (shift_regions(side, self.window, self.shift, tokens.device) for side in sides)
            mask = shift_mask(*labels, self.window)
        prior = None if prior is None else self.norm1(prior)
        windows = self.attn(to_windows(shifted, self.window), mask, prior)
        attended = from_windows(windows, self.window, shifted.shape[2]).roll((self.shift, self.shift), dims=(1, 2))
        tokens = tokens + attended[:, :height, :width] * keep[0]
        return tokens + self.mlp(self.norm2(tokens)) * keep[1]

    def update_prior(self, prior: Tensor) -> Tensor:
        """Carry prior tokens through the block: they attend to nothing but themselves. (B, P, C) -> (B, P, C)."""
        prior = prior + self.attn.values(self.norm1(prior))
        return prior + self.mlp(self.norm2(prior))


class NormedPatchEmbed(nn.Module):
    """Convolution and normalisation that turn a map into tokens: (B, C_in, H, W) -> (B, h, w, C)."""

    def __init__(self, in_chans: int, embed_dim: int, kernel: int, stride: int, padding: int):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel, stride, padding)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Halve the resolution and double the width: (B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), 2C)."""

    def __init__(self, dim: int):
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = F.pad(tokens, (0, 0, 0, tokens.shape[2] % 2, 0, tokens.shape[1] % 2))
        even, odd = tokens[:, 0::2], tokens[:, 1::2]
        phases = [even[:, :, 0::2], odd[:, :, 0::2], even[:, :, 1::2], odd[:, :, 1::2]]
        return self.reduction(self.norm(torch.cat(phases, dim=-1)))


class SwinStage(Recomputing):
    """Blocks of one resolution, alternately shifted, and patch merging.

    Args:
        prior_sets: tokens that join the prior memory at each block; block n is built for prior_sets * (n + 1).
        drop_path: one rate per block.
        downsample: whether the stage owns a `PatchMerging` (called by the encoder, `forward` does not apply it).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        depth: int,
        window: int = 7,
        prior_sets: int = 0,
        drop_path: list[float] | None = None,
        downsample: bool = False,
    ):
        super().__init__()
        rates = drop_path or [0.0] * depth
        self.blocks = nn.ModuleList(
            SwinBlock(
                dim,
                num_heads,
                window,
                shift=window // 2 if n % 2 else 0,
                prior_tokens=prior_sets * (n + 1),
                drop_path=rates[n],
            )
            for n in range(depth)
        )
        self.downsample = PatchMerging(dim) if downsample else None

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        for block in self.blocks:
            tokens = self.apply_part(block, tokens)
        return tokens


class SwinEncoder(nn.Module):
    """Four stages whose normalised outputs are the skip features of a decoder."""

    def __init__(
        self,
        patch_embed: NormedPatchEmbed,
        embed_dim: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        num_heads: tuple[int, ...] = (3, 6, 12, 24),
        drop_path: float = 0.0,
    ):
        super().__init__()
        rates = torch.linspace(0, drop_path, sum(depths), device="cpu").tolist()
        self.patch_embed = patch_embed
        self.layers = nn.ModuleList()
        for i, depth in enumerate(depths):
            taken, rates = rates[:depth], rates[depth:]
            last = i == len(depths) - 1
            self.layers.append(SwinStage(embed_dim * 2**i, num_heads[i], depth, drop_path=taken, downsample=not last))
        for i in range(len(depths)):
            self.add_module(f"norm{i}", nn.LayerNorm(embed_dim * 2**i))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C_in, H, W) -> one (B, C_i, H_i, W_i) per stage."""
        tokens = self.patch_embed(x)
        features = []
        for stage, norm in zip(self.layers, self.norms(), strict=True):
            tokens = stage(tokens)
            features.append(norm(tokens).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                tokens = stage.downsample(tokens)
        return features

    def norms(self) -> list[nn.Module]:
        """The norm of each stage's output."""
        return [self.get_submodule(f"norm{i}") for i in range(len(self.layers))]
