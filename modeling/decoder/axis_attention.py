"""Context stage of AEMatter: appearance-enhanced attention along horizontal and vertical strips at 1/32 resolution.

The stage reads features that no normalisation bounds, so it stays in float32 under autocast.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backbone.precise import attend_chunked, full_precision
from .bottleneck import Bottleneck

STRIP = 5  # width of a strip in cells
GROUPS = 16
_LOGITS_PER_TOKEN = 1024  # logits stored at once, per token of the chunk


class StripAttention(nn.Module):
    """Multi-head self-attention inside strips of STRIP consecutive rows, without positions or mask."""

    def __init__(self, dim: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, tokens: Tensor, chunk_tokens: int | None = None) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C); H is a multiple of STRIP."""
        batch, height, width, dim = tokens.shape
        sequences = tokens.reshape(batch * height // STRIP, STRIP * width, dim)
        qkv = F.linear(sequences, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (S, heads, N, d)
        max_logits = None if chunk_tokens is None else chunk_tokens * _LOGITS_PER_TOKEN
        out = attend_chunked(q, k, v, max_logits, self.dropout if self.training else 0.0)
        return self.out_proj(out.transpose(1, 2).flatten(2)).reshape(batch, height, width, dim)


class ContextBlock(nn.Module):
    """Appearance enhancement, attention along both axes and a feed-forward, normalised after each (post-norm).

    Attribute names follow the published checkpoints.
    """

    def __init__(self, dim: int, guide_dim: int, num_heads: int = 20, hidden: int = 2048, dropout: float = 0.2):
        super().__init__()
        half = dim // 2
        self.gamma = nn.Parameter(torch.zeros(1))
        self.self_attn2 = StripAttention(half, num_heads // 2, dropout)  # vertical strips
        self.self_attn1 = StripAttention(half, num_heads // 2, dropout)  # horizontal strips
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.trans = nn.Sequential(
            nn.Conv2d(dim + guide_dim, half, 1), Bottleneck(half, half // 2, GROUPS), nn.Conv2d(half, dim, 1)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, source: Tensor, guide: Tensor, chunk_tokens: int | None = None) -> Tensor:
        """Enhance `source` (B, C, h, w) with `guide` (B, C', h, w); h and w are multiples of STRIP."""
        source = source + self.gamma * self.trans(torch.cat([source, guide], dim=1))
        tokens = source.permute(0, 2, 3, 1)  # (B, h, w, C)
        rows, columns = tokens.chunk(2, dim=-1)
        along_rows = self.self_attn1(rows, chunk_tokens)
        along_columns = self.self_attn2(columns.transpose(1, 2), chunk_tokens).transpose(1, 2)
        attended = torch.cat([along_rows, along_columns], dim=-1)
        tokens = self.norm1(tokens + self.dropout(attended))
        rows_at_once = tokens.shape[1] if chunk_tokens is None else max(1, chunk_tokens // tokens.shape[2])
        parts = [self.norm2(part + self._feed_forward(part)) for part in tokens.split(rows_at_once, dim=1)]
        return torch.cat(parts, dim=1).permute(0, 3, 1, 2)

    def _feed_forward(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.linear2(self.dropout(F.relu(self.linear1(tokens)))))


def context_stage(blocks: list[ContextBlock], source: Tensor, guide: Tensor, chunk_tokens: int | None = None) -> Tensor:
    """Pad to whole strips, run the blocks in float32, crop: (B, C, h, w) -> (B, C, h, w)."""
    height, width = source.shape[2:]
    down, right = -height % STRIP, -width % STRIP
    padding = (right // 2, right - right // 2, down // 2, down - down // 2)
    with full_precision(source.device):
        context, guide = F.pad(source.float(), padding), F.pad(guide.float(), padding)
        for block in blocks:
            context = block(context, guide, chunk_tokens)
    return context[:, :, down // 2 : down // 2 + height, right // 2 : right // 2 + width]
