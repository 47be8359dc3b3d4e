"""One plain vision transformer: MEMatte's routed student, its ViTMatte teacher and DiffMatte's encoder."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from timm.layers import trunc_normal_
from torch import Tensor, nn

from ..inference.budget import Limits
from ..inference.strips import row_strips, rows_within
from .block import Block, ChannelNorm
from .mimetic import initialise_mimetic
from .routing import Router, decide, gumbel_policy, keep_maps, sample_gumbel

# Copies of its tokens that a chunk, and of all tokens that the grid, needs at once; measured, so with what allocators
# hold back. With routing: tokens, branch result, the router's half; without: tokens, keys, values, branch result.
_CHUNK_COPIES, _GRID_COPIES = {True: 26, False: 36}, {True: 2.5, False: 4.5}
_KEPT_COPIES = 8  # of the tokens in one sequence of global attention


@dataclass
class Encoding:
    """What the encoder knows after its last block; see `MattingOutput` for `keep` and `router_logp`."""

    tokens: Tensor  # (B, h, w, C)
    keep: list[Tensor] = field(default_factory=list)
    router_logp: list[Tensor] = field(default_factory=list)

    @property
    def features(self) -> Tensor:
        """(B, C, h, w) view of the tokens (channels-last in memory)."""
        return self.tokens.permute(0, 3, 1, 2)


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens: (B, in_chans, H, W) -> (B, h, w, C)."""

    def __init__(self, in_chans: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, patch_size, patch_size)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.proj(inputs).permute(0, 2, 3, 1)


class ViT(nn.Module):
    """Plain ViT on a token grid, without class token.

    Args:
        embed_dim, depth, num_heads, mlp_ratio, patch_size, in_chans: the usual sizes.
        window_size: side of attention windows in tokens.
        global_blocks: indices of blocks with global attention and a bottleneck; all others are windowed.
        routed: global blocks route their tokens (and have no relative positions).
        table_side: tokens a side for which the relative tables of unrouted global blocks are stored.
        pretrain_side: side of the grid of position embeddings (224 pixels / 16).
        final_norm: layer norm after the last block; published networks have none.
        mimetic: initial weights for training without pretrained ones, see `modeling.backbone.mimetic`; of routers those
            of `Router.initialise_decisive`.
        key_gradients: routers also learn from what a token does for others as a key, as published. Where attention is
            peaked and the peak not kept, these gradients are so large (norms of 1000) that nothing else is learnt.
        router_noise: scale of the Gumbel noise in training; published networks have 1. Without noise the tokens that
            are kept in training are those that are kept in use.
    """

    def __init__(
        self,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        patch_size: int = 16,
        in_chans: int = 4,
        window_size: int = 14,
        global_blocks: Sequence[int] = (2, 5, 8, 11),
        routed: bool = False,
        table_side: int = 32,
        pretrain_side: int = 14,
        final_norm: bool = False,
        mimetic: bool = False,
        key_gradients: bool = True,
        router_noise: float = 1.0,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} is not a multiple of num_heads {num_heads}")
        self.embed_dim, self.patch_size, self.pretrain_side = embed_dim, patch_size, pretrain_side
        self.global_blocks, self.routed, self.window_size = tuple(global_blocks), routed, window_size
        self.key_gradients, self.router_noise = key_gradients, router_noise
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + pretrain_side**2, embed_dim))
        self.patch_embed = PatchEmbed(in_chans, embed_dim, patch_size)
        self.blocks = nn.ModuleList()
        for index in range(depth):
            is_global = index in self.global_blocks
            side = window_size if not is_global else None if routed else table_side
            window = None if is_global else window_size
            self.blocks.append(Block(embed_dim, num_heads, mlp_ratio, window, side, routed and is_global))
        if routed:
            self.routers = nn.ModuleList(Router(embed_dim) for _ in self.global_blocks)
        self.norm = ChannelNorm(embed_dim) if final_norm else None
        trunc_normal_(self.pos_embed, std=0.02)
        self.apply(_init_linear)
        if mimetic:
            initialise_mimetic(self.pos_embed, [block.attn for block in self.blocks])
            for router in self.routers if routed else ():
                router.initialise_decisive()

    def embed(self, inputs: Tensor) -> Tensor:
        """Patches without positions: (B, in_chans, H, W) -> (B, h, w, C); H and W are multiples of the patch size."""
        return self.patch_embed(inputs)

    def positions(self, height: int, width: int, rows: slice = slice(None)) -> Tensor:
        """Position embeddings of some rows of a height x width grid: (1, rows, width, C).

        The bicubic resize is separable, so that rows can be had without the whole.
        """
        side = self.pretrain_side
        grid = self.pos_embed[0, 1:].view(side, side, -1)
        along_rows, along_cols = (_bicubic(side, length, grid.device) for length in (height, width))
        with torch.autocast(grid.device.type, enabled=False):
            grid = torch.einsum("hy,yxc->hxc", along_rows[rows], grid.float())
            return torch.einsum("wx,hxc->hwc", along_cols, grid)[None]

    def forward(self, inputs: Tensor, gumbel_noise: Sequence[Tensor] | None = None) -> Encoding:
        """Encode (B, in_chans, H, W).

        A routed ViT in training mode mixes both branches by a sampled policy; `gumbel_noise`, per routed block
        (B, h*w, 2), replaces the sampling. In evaluation mode it routes hard, without gradients.
        """
        tokens = self.embed(inputs)
        if self.routed and self.training:
            return self._train(tokens + self.positions(*tokens.shape[1:3]), gumbel_noise)
        if self.routed or not torch.is_grad_enabled():
            return self.infer_(tokens.detach(), Limits())
        tokens = tokens + self.positions(*tokens.shape[1:3])
        for block in self.blocks:
            tokens = block(tokens)
        return Encoding(tokens if self.norm is None else self.norm(tokens))

    @torch.no_grad()
    def infer_(self, tokens: Tensor, limits: Limits) -> Encoding:
        """Run the blocks within `limits` on patches (B, h, w, C) from `embed`, which are overwritten."""
        encoding = Encoding(tokens)
        height, width = tokens.shape[1:3]
        for strip in row_strips(height, rows_within(width, limits.chunk_tokens)):
            rows = slice(strip.start, strip.stop)
            tokens[:, rows] += self.positions(height, width, rows)
        for index, block in enumerate(self.blocks):
            kept = None
            if self.routed and index in self.global_blocks:
                router = self.routers[len(encoding.keep)]
                encoding.router_logp.append(router(tokens, limits.chunk_tokens))
                kept = decide(encoding.router_logp[-1], limits.max_tokens)
                encoding.keep.append(keep_maps(kept, height, width))
            tokens = block.infer_(tokens, limits, kept)
        for strip in row_strips(height, rows_within(width, limits.chunk_tokens)) if self.norm is not None else ():
            rows = slice(strip.start, strip.stop)
            tokens[:, rows] = self.norm(tokens[:, rows])
        encoding.tokens = tokens
        return encoding

    def memory_cost(self, height: int, width: int, limits: Limits) -> int:
        """Upper estimate in bytes of what `infer_` takes for a grid of height x width tokens, those included."""
        channels = 4 * self.embed_dim  # bytes of a token in float32
        tokens = height * width
        chunk = max(rows_within(width, limits.chunk_tokens) * width, limits.chunk_tokens, self.window_size**2)
        chunk = min(chunk, tokens)
        kept = 0 if not self.routed else tokens if limits.max_tokens is None else min(limits.max_tokens, tokens)
        copies = _GRID_COPIES[self.routed] * tokens + _CHUNK_COPIES[self.routed] * chunk + _KEPT_COPIES * kept
        return int(channels * copies)

    def _train(self, tokens: Tensor, gumbel_noise: Sequence[Tensor] | None) -> Encoding:
        encoding = Encoding(tokens)
        height, width = tokens.shape[1:3]
        for index, block in enumerate(self.blocks):
            policy = keys = None
            if index in self.global_blocks:
                position = len(encoding.keep)
                logp = self.routers[position](tokens).flatten(1, 2)  # (B, N, 2)
                noise = self.router_noise * sample_gumbel(logp) if gumbel_noise is None else gumbel_noise[position]
                policy = gumbel_policy(logp, noise)
                keys = policy if self.key_gradients else policy.detach()
                encoding.router_logp.append(logp.unflatten(1, (height, width)))
                encoding.keep.append(policy.view(-1, height, width))
            tokens = block(tokens, policy, keys)
        encoding.tokens = tokens if self.norm is None else self.norm(tokens)
        return encoding


def _bicubic(length: int, wanted: int, device: torch.device) -> Tensor:
    """Matrix (wanted, length) of bicubic resizing along one axis with half-pixel centres."""
    identity = torch.eye(length, device=device)
    if wanted == length:
        return identity
    return F.interpolate(identity[None, None], size=(wanted, length), mode="bicubic")[0, 0]


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
