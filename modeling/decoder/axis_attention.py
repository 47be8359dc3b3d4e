"""Context stage of AEMatter: appearance-enhanced attention along strips, at 1/32 resolution.

The stage reads features that no normalisation bounds, so it stays in float32 under autocast.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..backbone.attention import attend_precise
from ..precision import full_precision
from .blocks import Bottleneck

STRIP = 5  # width of a strip in cells
GROUPS = 16

Enhance = Callable[[Tensor, Tensor], Tensor]  # source (B, C, h, w) and guide (B, C', h, w) to a new source


class StripAttention(nn.Module):
    """Multi-head self-attention inside strips of STRIP consecutive rows, without positions or mask."""

    def __init__(self, dim: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C); H is a multiple of STRIP."""
        out = attend_precise(*self.heads(tokens), dropout=self.dropout if self.training else 0.0)
        return self.project(out, tokens)

    def heads(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, W, C) -> q, k, v of every strip, each (B * H / STRIP, heads, STRIP * W, d)."""
        strips = rearrange(tokens, "b (s y) x c -> (b s) (y x) c", y=STRIP)
        qkv = F.linear(strips, self.in_proj_weight, self.in_proj_bias)
        return rearrange(qkv, "s l (t n d) -> t s n l d", t=3, n=self.num_heads).unbind(0)

    def project(self, attended: Tensor, tokens: Tensor) -> Tensor:
        """Strips of heads (S, heads, N, d) -> the shape of `tokens`, (B, H, W, C)."""
        return self.out_proj(rearrange(attended, "s n l d -> s l (n d)")).reshape(tokens.shape)


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

    def forward(self, source: Tensor, guide: Tensor) -> Tensor:
        """Enhance `source` (B, C, h, w) with `guide` (B, C', h, w); h and w are multiples of STRIP."""
        source = source + self.gamma * self.trans(torch.cat([source, guide], dim=1))
        tokens = source.permute(0, 2, 3, 1)  # (B, h, w, C)
        rows, columns = tokens.chunk(2, dim=-1)
        attended = torch.cat([self.self_attn1(rows), self.self_attn2(columns.transpose(1, 2)).transpose(1, 2)], dim=-1)
        tokens = self.norm1(tokens + self.dropout(attended))
        return self.norm2(tokens + self.feed_forward(tokens)).permute(0, 3, 1, 2)

    def feed_forward(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.linear2(self.dropout(F.relu(self.linear1(tokens)))))


def context_stage(blocks: Sequence[Enhance], source: Tensor, guide: Tensor) -> Tensor:
    """Pad to whole strips, run the blocks in float32, crop: (B, C, h, w) -> (B, C, h, w)."""
    height, width = source.shape[2:]
    down, right = -height % STRIP, -width % STRIP
    padding = (right // 2, right - right // 2, down // 2, down - down // 2)
    with full_precision(source.device):
        context, guide = F.pad(source.float(), padding), F.pad(guide.float(), padding)
        for block in blocks:
            context = block(context, guide)
    return context[:, :, down // 2 : down // 2 + height, right // 2 : right // 2 + width]
