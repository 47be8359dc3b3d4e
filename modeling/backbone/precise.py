"""Attention whose logits and normalisation never leave float32, whatever the surrounding precision.

Half-precision logits overflow as soon as features grow (a product of two un-normalised vectors grows with the square
of their scale), and TF32 rounding of large logits moves the softmax visibly. Both are avoided by leaving autocast and
reduced-precision products for this one step.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Switch autocast and reduced-precision float32 products off for a few lines."""
    previous = torch.get_float32_matmul_precision()
    if previous != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if previous != "highest":
            torch.set_float32_matmul_precision(previous)


def attend_precise(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention computed in float32.

    The logits are stored, so the caller decides how many sequences or queries go in at once.

    Args:
        q: (..., N, d), not yet scaled.
        k, v: (..., M, d).
        bias: added to the logits, broadcastable to (..., N, M).

    Returns:
        (..., N, d) in the type of `v`.
    """
    with full_precision(q.device):
        logits = (q.float() * q.shape[-1] ** -0.5) @ k.float().transpose(-2, -1)  # (..., N, M)
        if bias is not None:
            logits = logits + bias.float()
        return (logits.softmax(dim=-1) @ v.float()).to(v.dtype)
