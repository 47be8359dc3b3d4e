"""Inference as the published code computes it, all in memory.

Every matrix is stored, every tile decoded, in one precision.

It uses the weights of this project's modules, and serves as the baseline of `tools/benchmark.py`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from modeling import ViTMatte
from modeling.backbone.attention import merge_windows, partition_windows, relative_table
from modeling.backbone.routing import decide
from modeling.backbone.vit import Attention, Block, ViT
from modeling.decoder.detail_capture import DetailCapture

TILE_PX, OVERLAP_PX = 512, 64


def attention(module: Attention, tokens: Tensor) -> Tensor:
    """Attention with logits in memory: (B, h, w, C).

    With relative positions where there are tables.
    """
    batch, height, width, dim = tokens.shape
    qkv = module.qkv(tokens).view(batch, height * width, 3, module.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.reshape(3, batch * module.num_heads, height * width, -1).unbind(0)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if hasattr(module, "rel_pos_h"):
        grid = q.view(-1, height, width, q.shape[-1])
        vertical = torch.einsum("bhwc,hkc->bhwk", grid, relative_table(module.rel_pos_h, height))
        horizontal = torch.einsum("bhwc,wkc->bhwk", grid, relative_table(module.rel_pos_w, width))
        logits = logits.view(-1, height, width, height, width)
        logits = logits + vertical[..., :, None] + horizontal[..., None, :]
        logits = logits.view(-1, height * width, height * width)
    mixed = (logits.softmax(dim=-1) @ v).view(batch, module.num_heads, height, width, -1)
    return module.proj(mixed.permute(0, 2, 3, 1, 4).reshape(batch, height, width, dim))


def run_block(block: Block, tokens: Tensor, kept: Tensor | None) -> Tensor:
    """One block on (1, h, w, C); `kept` are its tokens' indices.

    A routed block sends these to global attention.
    """
    if block.window_size is not None:
        windows, padded_hw = partition_windows(block.norm1(tokens), block.window_size)
        mixed = merge_windows(attention(block.attn, windows), padded_hw, *tokens.shape[1:3])
    elif kept is None:
        mixed = attention(block.attn, block.norm1(tokens))
    else:
        mixed = block.efficient_block(tokens)
        mask = torch.zeros(tokens.shape[:3], dtype=torch.bool, device=tokens.device)
        mask.view(-1)[kept] = True
        if len(kept):
            mixed[mask] = attention(block.attn, block.norm1(tokens[mask][None, None]))[0, 0]
    tokens = tokens + mixed
    tokens = tokens + block.mlp(block.norm2(tokens))
    return block.residual(tokens) if block.window_size is None else tokens


def encode(vit: ViT, inputs: Tensor, max_tokens: int | None) -> Tensor:
    """(1, 4, H, W) -> features (1, C, h, w)."""
    tokens = vit.patch_embed(inputs)
    tokens = tokens + vit.positions(*tokens.shape[1:3])
    routers = iter(vit.routers if vit.routed else ())
    for index, block in enumerate(vit.blocks):
        is_routed = vit.routed and index in vit.global_blocks
        tokens = run_block(block, tokens, decide(next(routers)(tokens), max_tokens)[0] if is_routed else None)
    return tokens.permute(0, 3, 1, 2)


def decode_tiles(decoder: DetailCapture, features: Tensor, inputs: Tensor) -> Tensor:
    """All 512 px tiles with 64 px of context.

    On a canvas extended with zeros to multiples of 512.
    """
    height, width = (-(-side // TILE_PX) * TILE_PX for side in inputs.shape[-2:])
    canvas = F.pad(inputs, (0, width - inputs.shape[-1], 0, height - inputs.shape[-2]))
    features = F.pad(features, (0, width // 16 - features.shape[-1], 0, height // 16 - features.shape[-2]))
    alpha = torch.zeros(1, 1, height, width, device=inputs.device)
    for top in range(0, height, TILE_PX):
        for left in range(0, width, TILE_PX):
            first_row, last_row = max(top - OVERLAP_PX, 0), min(top + TILE_PX + OVERLAP_PX, height)
            first_col, last_col = max(left - OVERLAP_PX, 0), min(left + TILE_PX + OVERLAP_PX, width)
            tile = decoder(
                features[..., first_row // 16 : last_row // 16, first_col // 16 : last_col // 16],
                canvas[..., first_row:last_row, first_col:last_col],
            )
            rows, cols = top - first_row, left - first_col
            alpha[..., top : top + TILE_PX, left : left + TILE_PX] = tile[
                ..., rows : rows + TILE_PX, cols : cols + TILE_PX
            ]
    return alpha[..., : inputs.shape[-2], : inputs.shape[-1]]


@torch.inference_mode()
def matte(model: ViTMatte, image: Tensor, trimap: Tensor, max_tokens: int | None) -> Tensor:
    """(1, 3, H, W) and (1, 1, H, W) uint8 -> alpha (H, W), known regions enforced at the end."""
    inputs = model.padded_input(image, trimap)
    features = encode(model.backbone, inputs, max_tokens)
    if model.backbone.routed:
        alpha = decode_tiles(model.decoder, features, inputs)
    else:
        alpha = model.decoder(features, inputs)
    alpha = alpha[0, 0, : image.shape[-2], : image.shape[-1]]
    alpha[trimap[0, 0] == 0] = 0
    alpha[trimap[0, 0] == 255] = 1
    return alpha
