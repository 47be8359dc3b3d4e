"""Swin Transformer: windows of tokens, shifted in every second block.

Differences from the widespread implementations, all needed to reproduce published matting weights: the shift and its
mask apply even when the map is no larger than one window, tokens are zero-padded after the first normalisation and
the padding is not masked, and a block may attend to extra "prior" tokens that belong to the image, not to a window.

A block is local to its row of windows, so large maps are computed band by band (`chunk_tokens`) with the same result.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .precise import attend_precise

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
    """Label the positions of one axis of the shifted map: (size,) in {0, 1, 2}."""
    position = torch.arange(size, device=device)
    return (position >= size - window).long() + (position >= size - shift).long()


def to_windows(tokens: Tensor, window: int) -> Tensor:
    """(B, H, W, ...) with H, W multiples of `window` -> (B, nH * nW, window**2, ...)."""
    batch, height, width = tokens.shape[:3]
    rest = tokens.shape[3:]
    tokens = tokens.reshape(batch, height // window, window, width // window, window, *rest).transpose(2, 3)
    return tokens.reshape(batch, -1, window * window, *rest)


def from_windows(windows: Tensor, window: int, width: int) -> Tensor:
    """Inverse of `to_windows`: (B, nW, window**2, C) -> (B, H, width, C)."""
    batch, dim = windows.shape[0], windows.shape[-1]
    tokens = windows.reshape(batch, -1, width // window, window, window, dim).transpose(2, 3)
    return tokens.reshape(batch, -1, width, dim)


def keep_samples(tokens: Tensor, rate: float, training: bool) -> Tensor | float:
    """Stochastic depth: one factor a sample, 0 with probability `rate`, else 1 / (1 - rate)."""
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
        """Attend inside each window, and from each window to the prior tokens of its image.

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
        """What a token that attends only to itself receives: (..., C) -> (..., C)."""
        dim = tokens.shape[-1]
        bias = self.qkv.bias[2 * dim :]
        return self.proj(F.linear(tokens, self.qkv.weight[2 * dim :], bias))

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, nW, N, 3C) -> three of (B, nW, heads, N, C / heads)."""
        return qkv.unflatten(-1, (3, self.num_heads, -1)).permute(3, 0, 1, 4, 2, 5).unbind(0)


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


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

    def forward(self, tokens: Tensor, prior: Tensor | None = None, chunk_tokens: int | None = None) -> Tensor:
        """Transform a token map.

        Args:
            tokens: (B, H, W, C).
            prior: (B, P, C) image-level tokens, not yet normalised.
            chunk_tokens: about how many tokens to hold in intermediate results; None: all at once.
        """
        height, width = tokens.shape[1:3]
        padded = height + -height % self.window
        rows = padded if chunk_tokens is None else self._band_rows(width, chunk_tokens)
        prior = None if prior is None else self.norm1(prior)
        keep = [keep_samples(tokens, self.drop_path, self.training) for _ in range(2)]
        if rows >= padded:
            pieces = self._band(tokens, 0, padded, prior, keep)
            return torch.cat([piece for _, piece in sorted(pieces, key=lambda item: item[0])], dim=1)
        out = torch.empty_like(tokens)
        for start in range(0, padded, rows):
            for first, piece in self._band(tokens, start, min(start + rows, padded), prior, keep):
                out[:, first : first + piece.shape[1]] = piece
        return out

    def update_prior(self, prior: Tensor) -> Tensor:
        """Carry prior tokens through the block: they attend to nothing but themselves. (B, P, C) -> (B, P, C)."""
        prior = prior + self.attn.values(self.norm1(prior))
        return prior + self.mlp(self.norm2(prior))

    def _band_rows(self, width: int, chunk_tokens: int) -> int:
        windows = max(1, chunk_tokens // ((width + -width % self.window) * self.window))
        return windows * self.window

    def _band(
        self, tokens: Tensor, start: int, stop: int, prior: Tensor | None, keep: list[Tensor | float]
    ) -> list[tuple[int, Tensor]]:
        """Transform the rows [start, stop) of the shifted map.

        Returns:
            Runs of rows as (first row in the map, (B, rows, W, C)), without padding; two where the shift wraps.
        """
        height, width = tokens.shape[1:3]
        padded = height + -height % self.window
        runs = [(start + self.shift, min(stop + self.shift, padded)), (0, max(0, stop + self.shift - padded))]
        runs = [(first, last) for first, last in runs if first < last]
        sources = [tokens[:, first : min(last, height)] for first, last in runs]
        right = -width % self.window
        normed = [
            F.pad(self.norm1(source), (0, 0, 0, right, 0, last - first - source.shape[1]))
            for source, (first, last) in zip(sources, runs, strict=True)
        ]
        shifted = torch.cat(normed, dim=1).roll(-self.shift, dims=2)  # (B, stop - start, W + right, C)
        windows = self.attn(to_windows(shifted, self.window), self._mask(padded, start, shifted), prior)
        attended = from_windows(windows, self.window, width + right).roll(self.shift, dims=2)[:, :, :width]
        pieces = []
        parts = attended.split([last - first for first, last in runs], dim=1)
        for (first, _), source, part in zip(runs, sources, parts, strict=True):
            x = source + part[:, : source.shape[1]] * keep[0]
            pieces.append((first, x + self.mlp(self.norm2(x)) * keep[1]))
        return pieces

    def _mask(self, padded: int, start: int, shifted: Tensor) -> Tensor | None:
        """Logit mask of the band's windows, (nW, N, N), or None in an unshifted block."""
        if self.shift == 0:
            return None
        rows, columns = shifted.shape[1:3]
        row_label = shift_regions(padded, self.window, self.shift, shifted.device)[start : start + rows]
        column_label = shift_regions(columns, self.window, self.shift, shifted.device)
        label = to_windows((3 * row_label[:, None] + column_label[None, :]).unsqueeze(0), self.window)[0]  # (nW, N)
        return torch.where(label[:, :, None] != label[:, None, :], MASKED_LOGIT, 0.0)


class PatchEmbed(nn.Module):
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


class SwinStage(nn.Module):
    """Blocks of one resolution, every second one shifted, and the merging that follows them.

    Args:
        prior_sets: tokens that join the prior memory at each block; block n is built for prior_sets * (n + 1).
        drop_path: one rate a block.
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

    def forward(self, tokens: Tensor, chunk_tokens: int | None = None) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        for block in self.blocks:
            tokens = block(tokens, chunk_tokens=chunk_tokens)
        return tokens


class SwinEncoder(nn.Module):
    """Four stages whose normalised outputs are the skip features of a decoder."""

    def __init__(
        self,
        patch_embed: PatchEmbed,
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

    def forward(self, x: Tensor, chunk_tokens: int | None = None) -> list[Tensor]:
        """(B, C_in, H, W) -> one (B, C_i, H_i, W_i) a stage."""
        tokens = self.patch_embed(x)
        features = []
        for i, stage in enumerate(self.layers):
            tokens = stage(tokens, chunk_tokens)
            features.append(getattr(self, f"norm{i}")(tokens).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                tokens = stage.downsample(tokens)
        return features
