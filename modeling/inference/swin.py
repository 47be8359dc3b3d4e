"""Swin encoders on large images, in bands of window rows.

A block depends on one row of windows only.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backbone.prior_swin import PATCH_SIZE, PriorSwin, area_means
from ..backbone.swin import (
    SwinBlock,
    SwinEncoder,
    SwinStage,
    from_windows,
    shift_mask,
    shift_regions,
    to_windows,
)
from ..base import Encoding


def encode_pyramid(encoder: SwinEncoder, x: Tensor, chunk_tokens: int) -> list[Tensor]:
    """`encoder(x)`: one (B, C_i, H_i, W_i) per stage."""
    tokens = encoder.patch_embed(x)
    features = []
    for stage, norm in zip(encoder.layers, encoder.norms(), strict=True):
        tokens = run_stage(stage, tokens, chunk_tokens)
        features.append(norm(tokens).permute(0, 3, 1, 2))
        if stage.downsample is not None:
            tokens = stage.downsample(tokens)
    return features


def encode_prior(encoder: PriorSwin, inputs: Tensor, chunk_tokens: int) -> Encoding:
    """`encoder(inputs)`."""
    areas, tokens = encoder.areas(inputs), encoder.patch_embed(inputs)
    for stage in encoder.layers:
        prior = tokens.new_zeros(tokens.shape[0], 0, tokens.shape[3])
        for block in stage.blocks:
            prior = torch.cat([prior, area_means(tokens, areas)], dim=1)
            tokens = run_block(block, tokens, prior, chunk_tokens)
            prior = block.update_prior(prior)
        if stage.downsample is not None:
            tokens, areas = stage.downsample(tokens), areas[:, :, ::2, ::2]
    return Encoding(tokens)


def prior_memory_cost(encoder: PriorSwin, height: int, width: int, chunk_tokens: int) -> int:
    """Upper estimate in bytes for a feature of height x width cells.

    It counts the input and the tokens of the first stage.
    """
    dim = encoder.patch_embed.proj.out_channels
    pixels = 32**2 * height * width
    tokens = pixels // PATCH_SIZE**2
    band = min(max(chunk_tokens, 7 * tokens // (8 * height)), tokens)  # at least one row of windows
    return 4 * (3 * encoder.patch_embed.proj.in_channels * pixels + 4 * dim * tokens + 24 * dim * band)


def run_stage(stage: SwinStage, tokens: Tensor, chunk_tokens: int) -> Tensor:
    """`stage(tokens)` on (B, H, W, C)."""
    for block in stage.blocks:
        tokens = run_block(block, tokens, None, chunk_tokens)
    return tokens


def run_block(block: SwinBlock, tokens: Tensor, prior: Tensor | None, chunk_tokens: int) -> Tensor:
    """`block(tokens, prior)` in evaluation, with about `chunk_tokens` tokens in intermediate results."""
    height, width = tokens.shape[1:3]
    padded = height + -height % block.window
    rows = _band_rows(block, width, chunk_tokens)
    prior = None if prior is None else block.norm1(prior)
    if rows >= padded:
        pieces = _band(block, tokens, 0, padded, prior)
        return torch.cat([piece for _, piece in sorted(pieces, key=lambda item: item[0])], dim=1)
    out = torch.empty_like(tokens)
    for start in range(0, padded, rows):
        for first, piece in _band(block, tokens, start, min(start + rows, padded), prior):
            out[:, first : first + piece.shape[1]] = piece
    return out


def _band_rows(block: SwinBlock, width: int, chunk_tokens: int) -> int:
    windows = max(1, chunk_tokens // ((width + -width % block.window) * block.window))
    return windows * block.window


def _band(block: SwinBlock, tokens: Tensor, start: int, stop: int, prior: Tensor | None) -> list[tuple[int, Tensor]]:
    """Transform the rows [start, stop) of the shifted map.

    Returns:
        Runs of rows as (first row in the map, (B, rows, W, C)), without padding; two where the shift wraps.
    """
    height, width = tokens.shape[1:3]
    window, shift = block.window, block.shift
    padded = height + -height % window
    runs = [(start + shift, min(stop + shift, padded)), (0, max(0, stop + shift - padded))]
    runs = [(first, last) for first, last in runs if first < last]
    sources = [tokens[:, first : min(last, height)] for first, last in runs]
    right = -width % window
    normed = [
        F.pad(block.norm1(source), (0, 0, 0, right, 0, last - first - source.shape[1]))
        for source, (first, last) in zip(sources, runs, strict=True)
    ]
    shifted = torch.cat(normed, dim=1).roll(-shift, dims=2)  # (B, stop - start, W + right, C)
    mask = None
    if shift:
        rows = shift_regions(padded, window, shift, tokens.device)[start : start + shifted.shape[1]]
        mask = shift_mask(rows, shift_regions(shifted.shape[2], window, shift, tokens.device), window)
    windows = block.attn(to_windows(shifted, window), mask, prior)
    attended = from_windows(windows, window, width + right).roll(shift, dims=2)[:, :, :width]
    pieces = []
    parts = attended.split([last - first for first, last in runs], dim=1)
    for (first, _), source, part in zip(runs, sources, parts, strict=True):
        x = source + part[:, : source.shape[1]]
        pieces.append((first, x + block.mlp(block.norm2(x))))
    return pieces
