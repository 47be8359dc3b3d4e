"""AEMatter in strips: high-resolution convolutions, Swin blocks and context attention."""

from functools import partial

import torch
from torch import Tensor, nn

from ..aematter import AEMatter
from ..backbone.attention import attend_precise
from ..base import MattingOutput
from ..decoder.axis_attention import ContextBlock, StripAttention, context_stage
from ..precision import full_precision
from ..strips import Strip, rows_within
from .budget import ENCODED, Limits
from .onehot import double_rows, map_strips, matte_padded, padded_size
from .swin import encode_pyramid, run_stage

_STEM_HALO, _REFINE_HALO, _HEAD_HALO = 2, 3, 3  # rows, at the resolution of the result
_LOGITS_PER_TOKEN = 1024  # logits stored at once, per token of the chunk

# Cost model, float32: what is held per pixel of the image during the last Swin stage and during the head; per token of
# a band and pixel of a strip; and what convolutions prepare once.
_BYTES_AT_QUARTER, _BYTES_AT_FULL = 4 * (6 + 64 / 4 + 180 / 16 + 3 * 128 / 16) * 1.2, 4 * (6 + 48 / 4 + 3) * 1.2
_BYTES_OF_TOKEN, _BYTES_OF_STRIP = 12_000, 4 * (102 + 2 * 48 + 4 * 32)
_FIXED_BYTES = 350_000_000


def matte(network: AEMatter, image: Tensor, trimap: Tensor, limits: Limits, name: str = "") -> MattingOutput:
    """Alpha of one image from strips with unknown pixels.

    See `executors.matte`.
    """
    return matte_padded(network, image, trimap, partial(raw_alpha, network, limits=limits))


def memory_cost(network: AEMatter, height: int, width: int, limits: Limits) -> int:
    """Upper estimate in bytes of what `matte` takes; see `executors.memory_cost`."""
    height, width = padded_size(network, height, width)
    pixels = height * width
    strip_px = min(max(limits.tile_px, 32 * width), pixels)
    band_tokens = min(max(limits.chunk_tokens, 2 * width), pixels // 16)  # a row of windows at 1/4 has 7 W / 4
    at_quarter = _BYTES_AT_QUARTER * pixels + _BYTES_OF_TOKEN * band_tokens
    return int(_FIXED_BYTES + max(at_quarter, _BYTES_AT_FULL * pixels + _BYTES_OF_STRIP * strip_px))


def raw_alpha(network: AEMatter, inputs: Tensor, limits: Limits) -> Tensor:
    """`network.raw_alpha` (1, 1, H, W) of one padded input, 0 in strips without an unknown pixel."""
    chunk = limits.chunk_tokens
    height, width = inputs.shape[2:]
    rows = rows_within(width, limits.tile_px, multiple=32)
    half = _stem_half(network, inputs, rows // 2)
    x1, x2, x3, x4 = encode_pyramid(network.trans, half, chunk)
    limits.report(ENCODED)
    x = network.conv1(torch.cat([x4, _context(network, x3, x4, chunk)], dim=1))
    x = run_stage(network.ctran0, x.permute(0, 2, 3, 1), chunk).permute(0, 3, 1, 2)
    steps = network.decoder_steps(x1, x2, x3)
    del x1, x2, x3, x4
    while steps:
        skip, merge, stage = steps.pop(0)
        merged = _merge(merge, skip, x, rows * skip.shape[2] // height)
        del skip
        x = run_stage(stage, merged.permute(0, 2, 3, 1), chunk).permute(0, 3, 1, 2)
        del merged
    x = _merge(network.conv5, half, x, rows // 2, _REFINE_HALO)
    del half
    return _head(network, inputs, x, rows)


def _stem_half(network: AEMatter, inputs: Tensor, rows: int) -> Tensor:
    """(1, 64, H/2, W/2); the full-resolution stem exists for one strip only."""

    def strip_of(strip: Strip) -> Tensor:
        return network.start_conv(network.start_conv0(inputs[:, :, 2 * strip.first : 2 * strip.last]))

    return map_strips(strip_of, inputs.shape[2] // 2, rows, _STEM_HALO)


def _merge(convs: nn.Module, skip: Tensor, x: Tensor, rows: int, halo: int = 0) -> Tensor:
    """Convolve cat(skip (B, C, 2h, 2w), doubled x (B, C', h, w)), `rows` rows at a time."""

    def strip_of(strip: Strip) -> Tensor:
        return convs(torch.cat([skip[:, :, strip.first : strip.last], double_rows(x, strip.first, strip.last)], 1))

    return map_strips(strip_of, skip.shape[2], max(rows, 1), halo)


def _head(network: AEMatter, inputs: Tensor, x: Tensor, rows: int) -> Tensor:
    """Full-resolution convolutions on inputs, stem and doubled x: (1, 1, H, W)."""
    wanted = inputs[:, 4].amax(dim=(0, 2)) > 0  # (H,)

    def strip_of(strip: Strip) -> Tensor:
        first, last = strip.first, strip.last
        outer = max(first - 1, 0)
        stem = network.start_conv0(inputs[:, :, outer : last + 1])[:, :, first - outer : last - outer]
        return network.convo(torch.cat([inputs[:, :, first:last], stem, double_rows(x, first, last)], dim=1))

    return map_strips(strip_of, inputs.shape[2], rows, _HEAD_HALO, wanted)


def _context(network: AEMatter, x3: Tensor, x4: Tensor, chunk_tokens: int) -> Tensor:
    """`network.context` with bounded attention and feed-forward."""
    with full_precision(x4.device):
        blocks = [partial(enhance, block, chunk_tokens) for block in (network.trans1, network.trans2, network.trans3)]
        return context_stage(blocks, *network.context_inputs(x3, x4))


def enhance(block: ContextBlock, chunk_tokens: int, source: Tensor, guide: Tensor) -> Tensor:
    """A context block on about `chunk_tokens` tokens at a time."""
    source = source + block.gamma * block.trans(torch.cat([source, guide], dim=1))
    tokens = source.permute(0, 2, 3, 1)  # (B, h, w, C)
    rows, columns = tokens.chunk(2, dim=-1)
    max_logits = chunk_tokens * _LOGITS_PER_TOKEN
    along_rows = _attend_strips(block.self_attn1, rows, max_logits)
    along_columns = _attend_strips(block.self_attn2, columns.transpose(1, 2), max_logits).transpose(1, 2)
    tokens = block.norm1(tokens + torch.cat([along_rows, along_columns], dim=-1))
    parts = tokens.split(max(1, chunk_tokens // tokens.shape[2]), dim=1)
    return torch.cat([block.norm2(part + block.feed_forward(part)) for part in parts], dim=1).permute(0, 3, 1, 2)


def _attend_strips(attention: StripAttention, tokens: Tensor, max_logits: int) -> Tensor:
    return attention.project(attend_chunked(*attention.heads(tokens), max_logits), tokens)


def attend_chunked(q: Tensor, k: Tensor, v: Tensor, max_logits: int) -> Tensor:
    """`attend_precise` on (S, heads, N, d), storing about `max_logits` logits at a time."""
    sequences, heads, length = q.shape[:3]
    together = max_logits // (heads * length * k.shape[2])  # sequences that fit
    queries = length if together else max(1, max_logits // (heads * k.shape[2]))
    together = max(1, together)
    out = torch.empty_like(q, dtype=v.dtype)
    for s in range(0, sequences, together):
        part = slice(s, s + together)
        for n in range(0, length, queries):
            out[part, :, n : n + queries] = attend_precise(q[part, :, n : n + queries], k[part], v[part])
    return out
