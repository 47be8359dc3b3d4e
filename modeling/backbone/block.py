"""The transformer block of the plain ViT: windowed, global, or global and routed."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

from ..inference.budget import Limits
from ..inference.precision import compute_dtype
from ..inference.strips import row_strips, rows_within
from .attention import (
    attend,
    merge_windows,
    partition_windows,
    policy_softmax,
    relative_bias,
    relative_table,
)
from .routing import LTRM


class ChannelNorm(nn.Module):
    """Layer normalisation over channels; its own type, since the published weight decay spares only `nn.LayerNorm`."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return F.layer_norm(tokens, self.weight.shape, self.weight, self.bias, self.eps)


class Bottleneck(nn.Module):
    """Convolutional residual unit at the end of a global block; starts as the identity."""

    HALO = 1  # rows that the 3x3 convolution reaches

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim // 2, 1, bias=False)
        self.norm1 = ChannelNorm(dim // 2)
        self.conv2 = nn.Conv2d(dim // 2, dim // 2, 3, padding=1, bias=False)
        self.norm2 = ChannelNorm(dim // 2)
        self.conv3 = nn.Conv2d(dim // 2, dim, 1, bias=False)
        self.norm3 = ChannelNorm(dim)
        for conv in (self.conv1, self.conv2, self.conv3):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.norm3.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        hidden = F.gelu(self.norm1(F.linear(tokens, self.conv1.weight.flatten(1))))
        hidden = self.conv2(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # (B, h, w, C/2)
        hidden = F.linear(F.gelu(self.norm2(hidden)), self.conv3.weight.flatten(1))
        return tokens + self.norm3(hidden)


class Attention(nn.Module):
    """Multi-head self-attention; `table_side` gives it relative positions for that many tokens a side."""

    def __init__(self, dim: int, num_heads: int, table_side: int | None) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = dim // num_heads
        if table_side is not None:
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * table_side - 1, head_dim))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * table_side - 1, head_dim))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def _heads(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, ..., C) -> q, k, v, each (B, heads, ..., d)."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1))  # (B, ..., 3, heads, d)
        return tuple(part.movedim(-2, 1) for part in qkv.unbind(-3))

    def _project(self, heads: Tensor) -> Tensor:
        """(B, heads, N, d) -> (B, N, C)."""
        return self.proj(heads.transpose(1, 2).flatten(2))

    def over_sequence(self, tokens: Tensor) -> Tensor:
        """Attention among the tokens of a sequence, without positions: (B, N, C) -> (B, N, C)."""
        return self._project(attend(*self._heads(tokens)))

    def over_windows(self, tokens: Tensor, size: int) -> Tensor:
        """Attention inside windows: (B, h, w, C) -> (B, h, w, C). Padding tokens take part, as published."""
        _, height, width, _ = tokens.shape
        windows, padded_hw = partition_windows(tokens, size)
        q, k, v = self._heads(windows)  # (B*n, heads, s, s, d)
        bias = relative_bias(q, relative_table(self.rel_pos_h, size), relative_table(self.rel_pos_w, size))
        heads = attend(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), bias)
        windows = self._project(heads).unflatten(1, (size, size))
        return merge_windows(windows, padded_hw, height, width)

    def over_grid(self, tokens: Tensor) -> Tensor:
        """Global attention with relative positions: (B, h, w, C) -> (B, h, w, C)."""
        _, height, width, _ = tokens.shape
        q, k, v = self._heads(tokens)  # (B, heads, h, w, d)
        bias = relative_bias(q, relative_table(self.rel_pos_h, height), relative_table(self.rel_pos_w, width))
        heads = attend(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), bias)
        return self._project(heads).unflatten(1, (height, width))

    def over_grid_in_strips(self, tokens: Tensor, norm: nn.Module, chunk_tokens: int) -> Tensor:
        """`over_grid(norm(tokens))` without gradients: keys and values of all tokens, queries a few rows at a time."""
        batch, height, width, dim = tokens.shape
        rows, cols = relative_table(self.rel_pos_h, height), relative_table(self.rel_pos_w, width)
        weights, biases = self.qkv.weight.split(dim), self.qkv.bias.split(dim)
        keys, values = (torch.empty_like(tokens, dtype=compute_dtype(tokens)) for _ in range(2))
        for strip in row_strips(height, rows_within(width, chunk_tokens)):
            part = norm(tokens[:, strip.start : strip.stop])
            keys[:, strip.start : strip.stop] = F.linear(part, weights[1], biases[1])
            values[:, strip.start : strip.stop] = F.linear(part, weights[2], biases[2])
        keys, values = self._split(keys.flatten(1, 2)), self._split(values.flatten(1, 2))  # (B, heads, N, d)
        mixed = torch.empty_like(tokens)
        # The bias of a step holds about as many numbers as the hidden layer of `chunk_tokens` tokens.
        step = max(chunk_tokens * 4 * dim // (batch * self.num_heads * width * height * width), 1)
        for strip in row_strips(height, step):
            part = norm(tokens[:, strip.start : strip.stop])
            q = self._split(F.linear(part, weights[0], biases[0]))  # (B, heads, r, w, d)
            bias = relative_bias(q, rows[strip.start : strip.stop], cols)
            heads = attend(q.flatten(2, 3), keys, values, bias)
            mixed[:, strip.start : strip.stop] = self._project(heads).view_as(part)
        return mixed

    def _split(self, channels: Tensor) -> Tensor:
        """(B, ..., C) -> (B, heads, ..., d)."""
        return channels.unflatten(-1, (self.num_heads, -1)).movedim(-2, 1)

    def over_policy(self, tokens: Tensor, policy: Tensor) -> Tensor:
        """Training: attention among all tokens, keys weighed by `policy` (B, N, 1): (B, N, C) -> (B, N, C)."""
        q, k, v = self._heads(tokens)
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, heads, N, N)
        return self._project(policy_softmax(logits, policy) @ v)


class Block(nn.Module):
    """Transformer block: windowed, or global (then with a bottleneck), or global and routed (then with an LTRM)."""

    def __init__(
        self, dim: int, num_heads: int, mlp_ratio: float, window_size: int | None, table_side: int | None, routed: bool
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, table_side)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        if routed:
            self.efficient_block = LTRM(dim)
        if window_size is None:
            self.residual = Bottleneck(dim)

    def forward(self, tokens: Tensor, policy: Tensor | None = None, keys: Tensor | None = None) -> Tensor:
        """The block on a whole grid, differentiable: (B, h, w, C) -> (B, h, w, C).

        `policy` (B, h*w, 1) mixes the two branches of a routed block; `keys`, of the same value but perhaps without
        gradients, says which tokens attention sees (default: `policy`).
        """
        normed = self.norm1(tokens)
        if self.window_size is not None:
            mixed = self.attn.over_windows(normed, self.window_size)
        elif policy is None:
            mixed = self.attn.over_grid(normed)
        else:
            slow = self.attn.over_policy(normed.flatten(1, 2), policy if keys is None else keys)
            fast = self.efficient_block(tokens).flatten(1, 2)
            mixed = (slow * policy + fast * (1 - policy)).view_as(tokens)
        tokens = tokens + mixed
        tokens = tokens + self.mlp(self.norm2(tokens))
        return self.residual(tokens) if self.window_size is None else tokens

    def infer_(self, tokens: Tensor, limits: Limits, kept: Sequence[Tensor] | None = None) -> Tensor:
        """The same without gradients and within `limits`; `tokens` is overwritten.

        `kept` lists, per image, the tokens that a routed block sends to global attention.
        """
        if self.window_size is not None:
            for part in self._window_parts(tokens, limits.chunk_tokens):
                part += self.attn.over_windows(self.norm1(part), self.window_size)
                part += self.mlp(self.norm2(part))
            return tokens
        if kept is None:
            mixed = self.attn.over_grid_in_strips(tokens, self.norm1, limits.chunk_tokens)
        else:
            mixed = self._routed(tokens, limits, kept)
        tokens += mixed
        rows = rows_within(tokens.shape[2], limits.chunk_tokens)
        for strip in row_strips(tokens.shape[1], rows):
            part = tokens[:, strip.start : strip.stop]
            part += self.mlp(self.norm2(part))
        refined = mixed.to(tokens.dtype)  # the branch result is spent: its memory takes the output
        for strip in row_strips(tokens.shape[1], rows, Bottleneck.HALO):
            part = self.residual(tokens[:, strip.first : strip.last])
            refined[:, strip.start : strip.stop] = part[:, strip.start - strip.first :][:, : strip.stop - strip.start]
        return tokens.copy_(refined)  # into the caller's memory, so that one grid remains, not two

    def _window_parts(self, tokens: Tensor, chunk_tokens: int) -> Iterator[Tensor]:
        """Views (B, r, c, C) of about `chunk_tokens` tokens each that are cut between windows."""
        _, height, width, _ = tokens.shape
        rows = rows_within(width, chunk_tokens, self.window_size)
        cols = rows_within(rows, chunk_tokens, self.window_size)
        for row in row_strips(height, rows):
            for col in row_strips(width, cols):
                yield tokens[:, row.start : row.stop, col.start : col.stop]

    def _routed(self, tokens: Tensor, limits: Limits, kept: Sequence[Tensor]) -> Tensor:
        """Branch result of a routed block: LTRM everywhere, overwritten by attention where tokens are kept."""
        mixed = self.efficient_block(tokens, limits.chunk_tokens)
        flat, out = tokens.flatten(1, 2), mixed.view(tokens.shape[0], -1, tokens.shape[3])
        for image, index in enumerate(kept):  # image by image: tokens of a batch never see each other
            if len(index):
                chosen = self.norm1(flat[image].index_select(0, index))[None]  # (1, n, C)
                out[image].index_copy_(0, index, self.attn.over_sequence(chosen)[0].to(out.dtype))
        return mixed
