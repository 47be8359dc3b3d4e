"""ViT on large images: strips, windows in parts, kept tokens.

Results equal those of `modeling.backbone.vit`.
"""

from collections.abc import Iterator, Sequence
from functools import singledispatch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backbone.attention import attend_lean, relative_bias
from ..backbone.routing import LTRM, Router, decide, keep_maps
from ..backbone.vit import Attention, Block, ResidualUnit, ViT
from ..base import Encoding
from ..inputs import model_input, published_size
from ..precision import autocast_off, compute_dtype
from ..strips import row_strips, rows_within
from .budget import ENCODED, Limits

# Peak memory in copies of the token tensor, per chunk and for the whole grid (measured, allocator overhead included).
# With routing: tokens, branch result, the router's half; without: tokens, keys, values, branch result.
_CHUNK_COPIES, _GRID_COPIES = {True: 26, False: 36}, {True: 2.5, False: 4.5}
_KEPT_COPIES = 8  # of the tokens in one sequence of global attention


def encode(vit: ViT, image: Tensor, guide: Tensor, limits: Limits) -> Encoding:
    """Encoding of (B, 3, H, W) and its guide (B, 1 or 2, H, W).

    The float input exists only for a few rows of patches at a time.
    """
    height, width = published_size(*image.shape[-2:])
    patch = vit.patch_size
    tokens = torch.empty(len(image), height // patch, width // patch, vit.embed_dim, device=image.device)
    for strip in row_strips(height // patch, rows_within(width // patch, limits.chunk_tokens)):
        window = (strip.start * patch, strip.stop * patch, 0, width)
        tokens[:, strip.start : strip.stop] = vit.patch_embed(model_input(image, guide, window))
    return encode_patches_(vit, tokens, limits)


def encode_patches_(vit: ViT, tokens: Tensor, limits: Limits) -> Encoding:
    """Run the blocks within `limits` on patches (B, h, w, C) of `vit.patch_embed`, which are overwritten."""
    encoding = Encoding(tokens)
    height, width = tokens.shape[1:3]
    strips = list(row_strips(height, rows_within(width, limits.chunk_tokens)))
    for strip in strips:
        rows = slice(strip.start, strip.stop)
        tokens[:, rows] += vit.positions(height, width, rows)
    for index, block in enumerate(limits.watch(vit.blocks, 0, ENCODED)):
        kept = None
        if vit.routed and index in vit.global_blocks:
            logp = token_scores(vit.routers[len(encoding.keep)], tokens, limits.chunk_tokens)
            kept = decide(logp, limits.max_tokens)
            encoding.router_logp.append(logp)
            encoding.keep.append(keep_maps(kept, height, width))
        tokens = run_block_(block, tokens, limits, kept)
    for strip in strips if vit.norm is not None else ():
        rows = slice(strip.start, strip.stop)
        tokens[:, rows] = vit.norm(tokens[:, rows])
    encoding.tokens = tokens
    return encoding


def memory_cost(vit: ViT, height: int, width: int, limits: Limits) -> int:
    """Upper estimate in bytes for `encode`, by the grid's size in tokens."""
    channels = 4 * vit.embed_dim  # bytes of a token in float32
    tokens = height * width
    chunk = max(rows_within(width, limits.chunk_tokens) * width, limits.chunk_tokens, vit.window_size**2)
    chunk = min(chunk, tokens)
    kept = 0 if not vit.routed else tokens if limits.max_tokens is None else min(limits.max_tokens, tokens)
    copies = _GRID_COPIES[vit.routed] * tokens + _CHUNK_COPIES[vit.routed] * chunk + _KEPT_COPIES * kept
    return int(channels * copies)


def run_block_(block: Block, tokens: Tensor, limits: Limits, kept: Sequence[Tensor] | None = None) -> Tensor:
    """One block on (B, h, w, C), which is overwritten.

    `kept` lists, per image, the tokens that a routed block sends to global attention.
    """
    if block.window_size is not None:
        for part in _window_parts(tokens, block.window_size, limits.chunk_tokens):
            part += block.attn.over_windows(block.norm1(part), block.window_size, attend_lean)
            part += block.mlp(block.norm2(part))
        return tokens
    if kept is None:
        mixed = attend_in_strips(block.attn, block.norm1, tokens, limits.chunk_tokens)
    else:
        mixed = _choose_branch(block, tokens, limits, kept)
    tokens += mixed
    rows = rows_within(tokens.shape[2], limits.chunk_tokens)
    for strip in row_strips(tokens.shape[1], rows):
        part = tokens[:, strip.start : strip.stop]
        part += block.mlp(block.norm2(part))
    refined = mixed.to(tokens.dtype)  # the branch result is spent: its memory takes the output
    for strip in row_strips(tokens.shape[1], rows, ResidualUnit.HALO):
        part = block.residual(tokens[:, strip.first : strip.last])
        refined[:, strip.start : strip.stop] = part[:, strip.start - strip.first :][:, : strip.stop - strip.start]
    return tokens.copy_(refined)  # into the caller's memory, so that one grid remains, not two


def _window_parts(tokens: Tensor, size: int, chunk_tokens: int) -> Iterator[Tensor]:
    """Views (B, r, c, C) of about `chunk_tokens` tokens each that are cut between windows."""
    _, height, width, _ = tokens.shape
    rows = rows_within(width, chunk_tokens, size)
    cols = rows_within(rows, chunk_tokens, size)
    for row in row_strips(height, rows):
        for col in row_strips(width, cols):
            yield tokens[:, row.start : row.stop, col.start : col.stop]


def _choose_branch(block: Block, tokens: Tensor, limits: Limits, kept: Sequence[Tensor]) -> Tensor:
    """Routed block: LTRM everywhere, overwritten by attention at kept tokens."""
    mixed = refine(block.efficient_block, tokens, limits.chunk_tokens)
    flat, out = tokens.flatten(1, 2), mixed.view(tokens.shape[0], -1, tokens.shape[3])
    for image, index in enumerate(kept):  # image by image: tokens of a batch never see each other
        if len(index):
            chosen = block.norm1(flat[image].index_select(0, index))[None]  # (1, n, C)
            out[image].index_copy_(0, index, block.attn.over_sequence(chosen, attend_lean)[0].to(out.dtype))
    return mixed


@singledispatch
def token_scores(router: nn.Module, tokens: Tensor, chunk_tokens: int) -> Tensor:
    """Log-probabilities of a router in chunks.

    Modules that stand in for one register how they score.
    """
    return router(tokens)


@token_scores.register
def _(router: Router, tokens: Tensor, chunk_tokens: int) -> Tensor:
    _, height, width, dim = tokens.shape
    with autocast_off(tokens.device):
        local, total = [], 0.0
        for strip in row_strips(height, rows_within(width, chunk_tokens)):
            part = router.in_conv(tokens[:, strip.start : strip.stop].float())
            local.append(part[..., : dim // 2].contiguous())  # lets go of the other half
            total = total + part[..., dim // 2 :].sum(dim=(1, 2), keepdim=True, dtype=torch.float64)
        mean = (total / (height * width)).float()  # (B, 1, 1, C/2)
        logits = [router.out_conv(torch.cat([part, mean.expand_as(part)], dim=-1)) for part in local]
        return F.log_softmax(torch.cat(logits, dim=1), dim=-1)


def refine(branch: LTRM, tokens: Tensor, chunk_tokens: int) -> Tensor:
    """LTRM of a grid (B, h, w, C), a strip of rows at a time."""
    _, height, width, _ = tokens.shape
    rows = rows_within(width, chunk_tokens)
    if rows >= height:
        refined = refine_rows(branch, tokens, 0, height)
    else:
        refined = torch.empty_like(tokens)
        for strip in row_strips(height, rows, LTRM.HALO):
            part = tokens[:, strip.first : strip.last]
            skip, keep = strip.start - strip.first, strip.stop - strip.start
            refined[:, strip.start : strip.stop] = refine_rows(branch, part, skip, keep)
    return refined.mul_(branch.gate(refined))


def refine_rows(branch: LTRM, tokens: Tensor, skip: int, keep: int) -> Tensor:
    """LTRM of rows `skip:skip + keep`, before the gate; other rows are context."""
    hidden = F.gelu(branch.fc1(tokens)).permute(0, 3, 1, 2)  # (B, 2C, h, w)
    hidden = branch.dwconv(hidden)[:, :, skip : skip + keep]
    return branch.fc2(F.gelu(hidden).permute(0, 2, 3, 1))


def attend_in_strips(attention: Attention, norm: nn.Module, tokens: Tensor, chunk_tokens: int) -> Tensor:
    """`attention.over_grid(norm(tokens))` with queries in strips of rows."""
    batch, height, width, dim = tokens.shape
    heads = attention.num_heads
    rows, cols = attention.tables(height, width)
    weights, biases = attention.qkv.weight.split(dim), attention.qkv.bias.split(dim)
    keys, values = (torch.empty_like(tokens, dtype=compute_dtype(tokens)) for _ in range(2))
    for strip in row_strips(height, rows_within(width, chunk_tokens)):
        part = norm(tokens[:, strip.start : strip.stop])
        keys[:, strip.start : strip.stop] = F.linear(part, weights[1], biases[1])
        values[:, strip.start : strip.stop] = F.linear(part, weights[2], biases[2])
    keys, values = (_split(part.flatten(1, 2), heads) for part in (keys, values))  # (B, heads, N, d)
    mixed = torch.empty_like(tokens)
    # The bias of a step holds about as many numbers as the hidden layer of `chunk_tokens` tokens.
    step = max(chunk_tokens * 4 * dim // (batch * heads * width * height * width), 1)
    for strip in row_strips(height, step):
        part = norm(tokens[:, strip.start : strip.stop])
        q = _split(F.linear(part, weights[0], biases[0]), heads)  # (B, heads, r, w, d)
        bias = relative_bias(q, rows[strip.start : strip.stop], cols)
        mixed[:, strip.start : strip.stop] = attention.project(
            attend_lean(q.flatten(2, 3), keys, values, bias)
        ).view_as(part)
    return mixed


def _split(channels: Tensor, heads: int) -> Tensor:
    """(B, ..., C) -> (B, heads, ..., d)."""
    return channels.unflatten(-1, (heads, -1)).movedim(-2, 1)
