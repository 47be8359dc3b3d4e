"""Attention as pure functions: fused, windowed, with decomposed relative positions, and policy-masked.

The module with the weights is `Attention` in `vit.py`.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..precision import autocast_off, full_precision

# From q, k, v (B, heads, N, d) and an optional bias (B, heads, N, N) to (B, heads, N, d).
Kernel = Callable[..., Tensor]

POLICY_EPS = 1e-6
HELD_WEIGHTS = {"cpu": 2**20, "device": 2**27}  # attention weights in memory at a time: in its caches, and few launches
WIDE_ROW = 32  # keys per row from which adding the two terms is faster than spreading both by one matrix product


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B, heads, N, d) -> (B, heads, N, d). Never stores an N x N matrix when `bias` is None."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def attend_lean(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """`attend` for inference: (B, heads, N, d) -> (B, heads, N, d), without gradients.

    The fused kernel of the CPU is as slow in bfloat16 as in float32; products and softmax in parts are not.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        return _attend_in_parts(q, k, v, bias)
    return attend(q, k, v, bias)


def _attend_in_parts(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """The same by plain matrix products, some queries at a time."""
    heads, (count, keys) = q.shape[:2], (q.shape[2], k.shape[2])
    q, k, v = (part.flatten(0, 1) for part in (q, k, v.contiguous()))  # (S, N, d), (S, M, d) twice; S = B * heads
    mixed, held = torch.empty_like(q), HELD_WEIGHTS["cpu"]
    together = max(held // (count * keys), 1)  # sequences at a time, and queries of each
    queries = max(held // (together * keys), 1)
    with autocast_off(q.device):  # it would take the softmax to float32
        columns = k.transpose(1, 2).contiguous() * k.shape[-1] ** -0.5  # (S, d, M)
        for first in range(0, q.shape[0], together):
            some = slice(first, first + together)
            for start in range(0, count, queries):
                rows = slice(start, start + queries)
                weights = torch.bmm(q[some, rows], columns[some])  # (s, n, M)
                if bias is not None:
                    weights += bias.flatten(0, 1)[some, rows]
                torch.bmm(weights.softmax(dim=-1), v[some], out=mixed[some, rows])
    return mixed.unflatten(0, heads)


def attend_precise(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """Softmax attention with logits and normalisation in float32.

    Half-precision logits overflow as soon as features grow (a product of two un-normalised vectors grows with the
    square of their scale), and TF32 rounding of large logits moves the softmax visibly. The logits are stored, so the
    caller decides how many sequences or queries go in at once.

    Args:
        q: (..., N, d), not yet scaled.
        k, v: (..., M, d).
        bias: added to the logits, broadcastable to (..., N, M).
        dropout: probability to drop an attention weight; 0 outside training.

    Returns:
        (..., N, d) in the type of `v`.
    """
    with full_precision(q.device):
        logits = (q.float() * q.shape[-1] ** -0.5) @ k.float().transpose(-2, -1)  # (..., N, M)
        if bias is not None:
            logits = logits + bias.float()
        weights = logits.softmax(dim=-1)
        if dropout:
            weights = F.dropout(weights, dropout)
        return (weights @ v.float()).to(v.dtype)


def partition_windows(tokens: Tensor, size: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut a token grid into square windows, zero-padding right and bottom.

    Args:
        tokens: (B, H, W, C).
        size: window side in tokens.

    Returns:
        windows (B * nH * nW, size, size, C), and the padded (H, W).
    """
    _, height, width, _ = tokens.shape
    tokens = F.pad(tokens, (0, 0, 0, -width % size, 0, -height % size))
    windows = rearrange(tokens, "b (r y) (c x) d -> (b r c) y x d", y=size, x=size)
    return windows, (tokens.shape[1], tokens.shape[2])


def merge_windows(windows: Tensor, padded_hw: tuple[int, int], height: int, width: int) -> Tensor:
    """Undo `partition_windows`: (B * nH * nW, s, s, C) -> (B, height, width, C)."""
    rows, cols = (side // windows.shape[1] for side in padded_hw)
    return rearrange(windows, "(b r c) y x d -> b (r y) (c x) d", r=rows, c=cols)[:, :height, :width]


def relative_table(table: Tensor, side: int) -> Tensor:
    """Relative-position vectors of every (query, key) pair along one axis.

    Args:
        table: (L, d) learned vectors; resized linearly to 2 * side - 1 entries where L differs.
        side: tokens along the axis.

    Returns:
        (side, side, d), entry [i, j] belonging to query i and key j.
    """
    length = 2 * side - 1
    if table.shape[0] != length:
        table = F.interpolate(table.float().t()[None], size=length, mode="linear")[0].t()  # (2*side-1, d)
    position = torch.arange(side, device=table.device)
    return table[position[:, None] - position[None, :] + side - 1]


def relative_bias(q: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Additive attention bias of decomposed relative positions.

    Args:
        q: (B, heads, h, w, d) *unscaled* queries on (part of) a grid.
        rows: (h, H, d) vectors along the vertical axis, for these query rows and all H key rows.
        cols: (w, W, d) vectors along the horizontal axis.

    Returns:
        (B, heads, h * w, H * W).
    """
    rows, cols = rows.to(q.dtype), cols.to(q.dtype)
    vertical = torch.einsum("bnhwd,hkd->bnhwk", q, rows)  # (B, heads, h, w, H)
    horizontal = torch.einsum("bnhwd,wkd->bnhwk", q, cols)  # (B, heads, h, w, W)
    height, width = vertical.shape[-1], horizontal.shape[-1]
    if width >= WIDE_ROW:
        return (vertical[..., :, None] + horizontal[..., None, :]).flatten(4).flatten(2, 3)
    place = torch.arange(height * width, device=q.device)
    row = place // width == torch.arange(height, device=q.device)[:, None]  # (H, H*W)
    col = place % width == torch.arange(width, device=q.device)[:, None]  # (W, H*W)
    return torch.cat([vertical, horizontal], dim=-1).flatten(2, 3) @ torch.cat([row, col]).to(q.dtype)


def attend_relative(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Global attention with relative positions, in groups of query rows.

    The bias and the weights of a part are computed again in the backward pass, so that no N x N matrix is stored.

    Args:
        q, k, v: (B, heads, h, w, d).
        rows: (h, h, d) vectors along the vertical axis.
        cols: (w, w, d) vectors along the horizontal axis.

    Returns:
        (B, heads, h * w, d).
    """
    height, width = q.shape[2:4]
    k, v = k.flatten(2, 3), v.flatten(2, 3)

    def attend_rows(q: Tensor, rows: Tensor, k: Tensor, v: Tensor, cols: Tensor) -> Tensor:
        return attend(q.flatten(2, 3), k, v, relative_bias(q, rows, cols))

    step = max(queries_at_once(q, height * width) // width, 1)
    if step >= height:
        return attend_rows(q, rows, k, v, cols)
    parts = zip(q.split(step, dim=2), rows.split(step), strict=True)
    return torch.cat([_recomputed(attend_rows, q_rows, row, k, v, cols) for q_rows, row in parts], dim=2)


def attend_by_policy(q: Tensor, k: Tensor, v: Tensor, policy: Tensor) -> Tensor:
    """Attention with `policy_softmax` in groups of queries, recomputed for gradients.

    Args:
        q, k, v: (B, heads, N, d).
        policy: (B, N, 1), 1 where a token takes part; gradients flow to it.

    Returns:
        (B, heads, N, d).
    """
    count = q.shape[2]
    step = queries_at_once(q, count)
    if step >= count:
        return _attend_queries_by_policy(q, k, v, policy, 0)
    parts = [
        _recomputed(_attend_queries_by_policy, queries, k, v, policy, index * step)
        for index, queries in enumerate(q.split(step, dim=2))
    ]
    return torch.cat(parts, dim=2)


def _attend_queries_by_policy(q: Tensor, k: Tensor, v: Tensor, policy: Tensor, first: int) -> Tensor:
    """(B, heads, n, d) queries from number `first` on, against all keys."""
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, heads, n, N)
    return policy_softmax(logits, policy, first) @ v


def queries_at_once(q: Tensor, keys: int) -> int:
    """Number of queries whose attention weights are in memory together."""
    held = HELD_WEIGHTS["cpu" if q.device.type == "cpu" else "device"]
    return max(held // (q.shape[0] * q.shape[1] * keys), 1)


def _recomputed(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """`function(*inputs)` that stores only the inputs for the backward pass.

    `function` must draw no random numbers.
    """
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


def policy_softmax(logits: Tensor, policy: Tensor, first: int = 0) -> Tensor:
    """Softmax over keys of which only the kept ones (and the query itself) count.

    Args:
        logits: (B, heads, n, N) of the queries from number `first` on.
        policy: (B, N, 1), 1 where a token takes part; gradients flow to it.

    Returns:
        (B, heads, n, N), computed in float32 and cast back.
    """
    queries, count = logits.shape[-2:]
    position = torch.arange(count, device=logits.device)
    own = position[first : first + queries, None] == position  # (n, N)
    mask = policy.float().transpose(1, 2)[:, None].masked_fill(own, 1)  # (B, 1, n, N)
    scores = logits.float()
    weights = (scores - scores.amax(dim=-1, keepdim=True)).exp() * mask
    weights = (weights + POLICY_EPS / count) / (weights.sum(dim=-1, keepdim=True) + POLICY_EPS)
    return weights.to(logits.dtype)
