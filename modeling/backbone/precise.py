"""Attention whose logits and normalisation never leave float32, whatever the surrounding precision.

Half-precision logits overflow as soon as features grow (a product of two un-normalised vectors grows with the square
of their scale), and TF32 rounding of large logits moves the softmax visibly. Both are avoided by leaving autocast and
reduced-precision products for this one step.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.amp import is_autocast_available


def autocast_off(device: torch.device) -> AbstractContextManager:
    """Leave autocast, on devices that have one (the meta device has none)."""
    return torch.autocast(device.type, enabled=False) if is_autocast_available(device.type) else nullcontext()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Switch autocast and reduced-precision float32 products off for a few lines."""
    previous = torch.get_float32_matmul_precision()
    if previous != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with autocast_off(device):
            yield
    finally:
        if previous != "highest":
            torch.set_float32_matmul_precision(previous)


def attend_precise(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """Softmax attention computed in float32.

    The logits are stored, so the caller decides how many sequences or queries go in at once.

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


def attend_chunked(q: Tensor, k: Tensor, v: Tensor, max_logits: int | None, dropout: float = 0.0) -> Tensor:
    """`attend_precise` on (S, heads, N, d), storing about `max_logits` logits at a time (None: all)."""
    sequences, heads, length = q.shape[:3]
    if max_logits is None:
        return attend_precise(q, k, v, dropout=dropout)
    together = max_logits // (heads * length * k.shape[2])  # sequences that fit
    queries = length if together else max(1, max_logits // (heads * k.shape[2]))
    together = max(1, together)
    out = torch.empty_like(q, dtype=v.dtype)
    for s in range(0, sequences, together):
        part = slice(s, s + together)
        for n in range(0, length, queries):
            out[part, :, n : n + queries] = attend_precise(
                q[part, :, n : n + queries], k[part], v[part], dropout=dropout
            )
    return out
