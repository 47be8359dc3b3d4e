"""Attention as pure functions: fused, windowed, with decomposed relative positions, and policy-masked."""

import torch
import torch.nn.functional as F
from torch import Tensor

POLICY_EPS = 1e-6
HELD_WEIGHTS = 2**20  # attention weights that are in memory at a time where no fused kernel computes them
WIDE_ROW = 32  # keys a row from which adding the two terms is faster than spreading both by one matrix product


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B, heads, N, d) -> (B, heads, N, d). Never stores an N x N matrix when `bias` is None."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and not torch.is_grad_enabled():
        return _attend_in_parts(q, k, v, bias)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def _attend_in_parts(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """The same by plain matrix products, some queries at a time.

    The fused kernel of the CPU is as slow in bfloat16 as in float32; products and softmax are not.
    """
    heads, (count, keys) = q.shape[:2], (q.shape[2], k.shape[2])
    q, k, v = (part.flatten(0, 1) for part in (q, k, v.contiguous()))  # (S, N, d), (S, M, d) twice; S = B * heads
    mixed = torch.empty_like(q)
    together = max(HELD_WEIGHTS // (count * keys), 1)  # sequences at a time, and queries of each
    queries = max(HELD_WEIGHTS // (together * keys), 1)
    with torch.autocast("cpu", enabled=False):  # it would take the softmax to float32
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


def partition_windows(tokens: Tensor, size: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut a token grid into square windows, zero-padding right and bottom.

    Args:
        tokens: (B, H, W, C).
        size: window side in tokens.

    Returns:
        windows (B * nH * nW, size, size, C), and the padded (H, W).
    """
    batch, height, width, dim = tokens.shape
    tokens = F.pad(tokens, (0, 0, 0, -width % size, 0, -height % size))
    rows, cols = tokens.shape[1] // size, tokens.shape[2] // size
    tokens = tokens.view(batch, rows, size, cols, size, dim)
    windows = tokens.transpose(2, 3).reshape(-1, size, size, dim)  # (B*nH*nW, s, s, C)
    return windows, (rows * size, cols * size)


def merge_windows(windows: Tensor, padded_hw: tuple[int, int], height: int, width: int) -> Tensor:
    """Undo `partition_windows`: (B * nH * nW, s, s, C) -> (B, height, width, C)."""
    size, dim = windows.shape[1], windows.shape[-1]
    rows, cols = padded_hw[0] // size, padded_hw[1] // size
    tokens = windows.view(-1, rows, cols, size, size, dim).transpose(2, 3)
    return tokens.reshape(-1, rows * size, cols * size, dim)[:, :height, :width]


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


def policy_softmax(logits: Tensor, policy: Tensor) -> Tensor:
    """Softmax over keys of which only the kept ones (and the query itself) count.

    Args:
        logits: (B, heads, N, N).
        policy: (B, N, 1), 1 where a token takes part; gradients flow to it.

    Returns:
        (B, heads, N, N), computed in float32 and cast back.
    """
    count = logits.shape[-1]
    keys = policy.float().transpose(1, 2)[:, None]  # (B, 1, 1, N)
    own = torch.eye(count, device=logits.device)
    mask = keys + (1 - keys) * own  # (B, 1, N, N), ones on the diagonal
    scores = logits.float()
    weights = (scores - scores.amax(dim=-1, keepdim=True)).exp() * mask
    weights = (weights + POLICY_EPS / count) / (weights.sum(dim=-1, keepdim=True) + POLICY_EPS)
    return weights.to(logits.dtype)
