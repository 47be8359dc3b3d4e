"""Attention and routing as the published formulas, with N x N matrices."""

import torch
from torch import Tensor

from modeling.backbone.vit import Block, ViT


def resized_table(table: Tensor, side: int) -> Tensor:
    """Table (L, d) resized linearly to 2 * side - 1 rows.

    With half-pixel centres, row by row.
    """
    length, wanted = table.shape[0], 2 * side - 1
    rows = []
    for index in range(wanted):
        position = min(max((index + 0.5) * length / wanted - 0.5, 0), length - 1)
        low = int(position)
        high = min(low + 1, length - 1)
        rows.append(table[low] * (1 - (position - low)) + table[high] * (position - low))
    return torch.stack(rows)


def grid_attention(tokens: Tensor, block: Block) -> Tensor:
    """Attention among all tokens (h, w, C) of one image.

    With relative positions where the block has tables.
    """
    height, width, dim = tokens.shape
    attention = block.attn
    heads, head_dim = attention.num_heads, dim // attention.num_heads
    q, k, v = attention.qkv(tokens.reshape(-1, dim)).chunk(3, dim=-1)
    places = [(y, x) for y in range(height) for x in range(width)]
    bias = torch.zeros(heads, len(places), len(places))
    if hasattr(attention, "rel_pos_h"):
        rows, cols = resized_table(attention.rel_pos_h, height), resized_table(attention.rel_pos_w, width)
        for i, (yi, xi) in enumerate(places):
            vectors = torch.stack([rows[yi - yj + height - 1] + cols[xi - xj + width - 1] for yj, xj in places])
            for head in range(heads):
                bias[head, i] = vectors @ q[i, head * head_dim : (head + 1) * head_dim]
    mixed = []
    for head in range(heads):
        part = slice(head * head_dim, (head + 1) * head_dim)
        logits = q[:, part] @ k[:, part].t() / head_dim**0.5 + bias[head]
        weights = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
        mixed.append(weights @ v[:, part])
    return attention.proj(torch.cat(mixed, dim=1)).view(height, width, dim)


def window_attention(tokens: Tensor, block: Block) -> Tensor:
    """Window by window, zero-padded right and bottom: (h, w, C)."""
    height, width, dim = tokens.shape
    size = block.window_size
    padded = torch.zeros(-(-height // size) * size, -(-width // size) * size, dim)
    padded[:height, :width] = tokens
    out = torch.empty_like(padded)
    for top in range(0, padded.shape[0], size):
        for left in range(0, padded.shape[1], size):
            out[top : top + size, left : left + size] = grid_attention(
                padded[top : top + size, left : left + size], block
            )
    return out[:height, :width]


def light_branch(tokens: Tensor, block: Block) -> Tensor:
    """LTRM of the whole grid (h, w, C)."""
    module = block.efficient_block
    hidden = torch.nn.functional.gelu(module.fc1(tokens)).permute(2, 0, 1)[None]
    hidden = torch.nn.functional.gelu(module.dwconv(hidden))[0].permute(1, 2, 0)
    refined = module.fc2(hidden)
    kernel, mean = module.eca.conv.weight.view(-1), refined.mean(dim=(0, 1))
    reach = len(kernel) // 2
    gates = []
    for channel in range(len(mean)):
        near = [(channel + offset, offset + reach) for offset in range(-reach, reach + 1)]
        gates.append(sum(mean[c] * kernel[i] for c, i in near if 0 <= c < len(mean)).sigmoid())
    return refined + refined * torch.stack(gates)


def router_decision(tokens: Tensor, router: torch.nn.Module, cap: int | None) -> tuple[Tensor, list[int]]:
    """Log-probabilities (N, 2) and the sorted list of kept tokens of (h, w, C)."""
    dim = tokens.shape[-1]
    hidden = router.in_conv(tokens.reshape(-1, dim))
    pooled = hidden[:, dim // 2 :].mean(dim=0, keepdim=True).expand(len(hidden), -1)
    logp = router.out_conv(torch.cat([hidden[:, : dim // 2], pooled], dim=1)).log_softmax(dim=1)
    kept = [i for i in range(len(logp)) if logp[i, 0] > logp[i, 1]]
    if cap is not None and len(kept) > cap:
        kept = sorted(sorted(kept, key=lambda i: float(logp[i, 1] - logp[i, 0]))[:cap])
    return logp, kept


def encode_image(vit: ViT, image: Tensor, cap: int | None = None) -> tuple[Tensor, list[list[int]]]:
    """Tokens (h, w, C) of one image (in_chans, H, W), and per routed block the kept tokens."""
    tokens = vit.patch_embed(image[None])
    tokens = (tokens + vit.positions(*tokens.shape[1:3]))[0]
    decisions = []
    for index, block in enumerate(vit.blocks):
        if index not in vit.global_blocks:
            mixed = window_attention(block.norm1(tokens), block)
        elif not vit.routed:
            mixed = grid_attention(block.norm1(tokens), block)
        else:
            _, kept = router_decision(tokens, vit.routers[len(decisions)], cap)
            decisions.append(kept)
            mixed = light_branch(tokens, block).reshape(-1, tokens.shape[-1])
            if kept:
                chosen = tokens.reshape(-1, tokens.shape[-1])[kept][None]  # (1, n, C): one row of tokens
                mixed[kept] = grid_attention(block.norm1(chosen), block)[0]
            mixed = mixed.view_as(tokens)
        tokens = tokens + mixed
        tokens = tokens + block.mlp(block.norm2(tokens))
        if index in vit.global_blocks:
            tokens = block.residual(tokens[None])[0]
    return tokens, decisions
