"""One plain vision transformer, top-down: encoder, block, attention.

It is MEMatte's routed student, its ViTMatte teacher and DiffMatte's encoder. Router and LTRM are in `routing.py`, BATR
is `ratio_loss` in `modeling/losses/terms.py`. Everything here works on whole tensors; `modeling.inference.vit` computes
the same in bounded memory.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..base import Encoder, Encoding
from ..precision import autocast_off
from .attention import (
    Kernel,
    attend,
    attend_by_policy,
    attend_relative,
    merge_windows,
    partition_windows,
    relative_bias,
    relative_table,
)
from .mimetic import initialise_mimetic
from .routing import LTRM, Router, decide, gumbel_policy, keep_maps, sample_gumbel


class ViT(Encoder):
    """Plain ViT on a token grid, without class token.

    Args:
        embed_dim, depth, num_heads, mlp_ratio, patch_size, in_chans: the usual sizes.
        window_size: side of attention windows in tokens.
        global_blocks: indices of blocks with global attention and a residual unit; all others are windowed.
        routed: global blocks route their tokens (and have no relative positions).
        table_side: tokens per side for which the relative tables of unrouted global blocks are stored.
        pretrain_side: side of the grid of position embeddings (224 pixels / 16).
        final_norm: layer norm after the last block; published networks have none.
        mimetic: initial weights for training without pretrained ones, see `modeling.backbone.mimetic`; routers get
            those of `Router.initialise_decisive`.
        key_gradients: routers also learn from what a token does for others as a key, as published. Where attention is
            peaked and the peak not kept, these gradients are so large (norms of 1000) that nothing else is learnt.
        router_noise: scale of the Gumbel noise in training; published networks have 1. Without noise the tokens that
            are kept in training are those that are kept in use.
    """

    reads_classes = False

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
        self.embed_dim, self.patch_size, self.pretrain_side, self.depth = embed_dim, patch_size, pretrain_side, depth
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
        _draw_normal_(self.pos_embed)
        self.apply(_init_linear)
        if mimetic:
            initialise_mimetic(self.pos_embed, [block.attn for block in self.blocks])
            for router in self.routers if routed else ():
                router.initialise_decisive()

    def forward(self, inputs: Tensor, gumbel_noise: Sequence[Tensor] | None = None) -> Encoding:
        """Encode (B, in_chans, H, W); H and W are multiples of the patch size.

        In training a routed block mixes both branches by a sampled policy; `gumbel_noise`, per routed block
        (B, h*w, 2), replaces the sampling. In evaluation its tokens take one branch each, those of `decide`.
        """
        tokens = self.patch_embed(inputs)
        height, width = tokens.shape[1:3]
        tokens = tokens + self.positions(height, width)
        encoding = Encoding(tokens)
        for index, block in enumerate(self.blocks):
            policy = keys = kept = None
            if self.routed and index in self.global_blocks:
                position = len(encoding.keep)
                logp = self.routers[position](tokens)  # (B, h, w, 2)
                encoding.router_logp.append(logp)
                if self.training:
                    flat = logp.flatten(1, 2)
                    noise = self.router_noise * sample_gumbel(flat) if gumbel_noise is None else gumbel_noise[position]
                    policy = gumbel_policy(flat, noise)  # (B, h*w, 1)
                    keys = policy if self.key_gradients else policy.detach()
                    encoding.policy.append(policy.view(-1, height, width))
                    encoding.keep.append(encoding.policy[-1].detach() > 0.5)
                else:
                    kept = decide(logp)
                    encoding.keep.append(keep_maps(kept, height, width))
            tokens = self.apply_part(block, tokens, policy, keys, kept)
        encoding.tokens = tokens if self.norm is None else self.norm(tokens)
        return encoding

    def positions(self, height: int, width: int, rows: slice = slice(None)) -> Tensor:
        """Position embeddings of some rows of a height x width grid: (1, rows, width, C).

        The bicubic resize is separable, so that rows can be had without the whole.
        """
        side = self.pretrain_side
        grid = self.pos_embed[0, 1:].view(side, side, -1)
        along_rows, along_cols = (_bicubic(side, length, grid.device) for length in (height, width))
        with autocast_off(grid.device):
            grid = torch.einsum("hy,yxc->hxc", along_rows[rows], grid.float())
            return torch.einsum("wx,hxc->hwc", along_cols, grid)[None]


class Block(nn.Module):
    """Transformer block: windowed, or global (then with a residual unit), or global and routed (then with an LTRM)."""

    def __init__(
        self, dim: int, num_heads: int, mlp_ratio: float, window_size: int | None, table_side: int | None, routed: bool
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, table_side)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        if routed:
            self.efficient_block = LTRM(dim)
        if window_size is None:
            self.residual = ResidualUnit(dim)

    def forward(
        self,
        tokens: Tensor,
        policy: Tensor | None = None,
        keys: Tensor | None = None,
        kept: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C).

        Args:
            tokens: the grid.
            policy: (B, h*w, 1) of a routed block in training: 1 takes the result of global attention, 0 of the LTRM.
            keys: which tokens attention sees: `policy`, perhaps without its gradients (default: `policy`).
            kept: of a routed block in evaluation, per image the indices of the tokens in global attention.
        """
        normed = self.norm1(tokens)
        if self.window_size is not None:
            mixed = self.attn.over_windows(normed, self.window_size)
        elif policy is not None:
            mixed = self._mix_branches(tokens, normed, policy, policy if keys is None else keys)
        elif kept is not None:
            mixed = self._choose_branch(tokens, normed, kept)
        else:
            mixed = self.attn.over_grid(normed)
        tokens = tokens + mixed
        tokens = tokens + self.mlp(self.norm2(tokens))
        return self.residual(tokens) if self.window_size is None else tokens

    def _mix_branches(self, tokens: Tensor, normed: Tensor, policy: Tensor, keys: Tensor) -> Tensor:
        """Training: both branches for every token, so that gradients reach the policy."""
        slow = self.attn.over_policy(normed.flatten(1, 2), keys)
        fast = self.efficient_block(tokens).flatten(1, 2)
        return (slow * policy + fast * (1 - policy)).view_as(tokens)

    def _choose_branch(self, tokens: Tensor, normed: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Evaluation: attention among each image's kept tokens, LTRM for the others."""
        flat, mixed = normed.flatten(1, 2), self.efficient_block(tokens).flatten(1, 2)
        images = []
        for image, index in enumerate(kept):  # tokens of different images never attend to each other
            slow = self.attn.over_sequence(flat[image, index][None])[0]  # (n, C)
            images.append(mixed[image].index_copy(0, index, slow.to(mixed.dtype)))
        return torch.stack(images).view_as(tokens)


class Attention(nn.Module):
    """Multi-head self-attention, with relative positions where `table_side` is given.

    `table_side`: tokens per side that the relative positions cover.
    """

    def __init__(self, dim: int, num_heads: int, table_side: int | None) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = dim // num_heads
        if table_side is not None:
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * table_side - 1, head_dim))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * table_side - 1, head_dim))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def over_grid(self, tokens: Tensor) -> Tensor:
        """Global attention with relative positions: (B, h, w, C) -> (B, h, w, C)."""
        _, height, width, _ = tokens.shape
        q, k, v = self.heads(tokens)  # (B, heads, h, w, d)
        return self.project(attend_relative(q, k, v, *self.tables(height, width))).unflatten(1, (height, width))

    def over_windows(self, tokens: Tensor, size: int, kernel: Kernel = attend) -> Tensor:
        """Attention inside windows: (B, h, w, C) -> (B, h, w, C). Padding tokens take part, as published."""
        _, height, width, _ = tokens.shape
        windows, padded_hw = partition_windows(tokens, size)
        q, k, v = self.heads(windows)  # (B*n, heads, s, s, d)
        bias = relative_bias(q, *self.tables(size, size))
        mixed = kernel(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), bias)
        windows = self.project(mixed).unflatten(1, (size, size))
        return merge_windows(windows, padded_hw, height, width)

    def over_policy(self, tokens: Tensor, policy: Tensor) -> Tensor:
        """Attention among all tokens, keys weighed by `policy` (B, N, 1): (B, N, C) -> (B, N, C)."""
        return self.project(attend_by_policy(*self.heads(tokens), policy))

    def over_sequence(self, tokens: Tensor, kernel: Kernel = attend) -> Tensor:
        """Attention among the tokens of a sequence, without positions: (B, N, C) -> (B, N, C)."""
        return self.project(kernel(*self.heads(tokens)))

    def heads(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, ..., C) -> q, k, v, each (B, heads, ..., d)."""
        parts = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1)).unbind(-3)  # one copy in the backward pass
        return tuple(rearrange(part, "b ... n d -> b n ... d") for part in parts)

    def project(self, mixed: Tensor) -> Tensor:
        """(B, heads, N, d) -> (B, N, C)."""
        return self.proj(rearrange(mixed, "b n l d -> b l (n d)"))

    def tables(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Relative positions along both axes of a grid: (height, height, d) and (width, width, d)."""
        return relative_table(self.rel_pos_h, height), relative_table(self.rel_pos_w, width)


class ResidualUnit(nn.Module):
    """Convolutional bottleneck after a global block; initially the identity."""

    HALO = 1  # rows that the 3x3 convolution reaches

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim // 2, 1, bias=False)
        self.norm1 = ChannelNorm(dim // 2)
        self.conv2 = nn.Conv2d(dim // 2, dim // 2, 3, padding=1, bias=False)
        self.norm2 = ChannelNorm(dim // 2)
        self.conv3 = nn.Conv2d(dim // 2, dim, 1, bias=False)
        self.norm3 = ChannelNorm(dim)
        for conv in (self.conv1, self.conv2, self.conv3):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.norm3.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        hidden = F.gelu(self.norm1(F.linear(tokens, self.conv1.weight.flatten(1))))
        hidden = self.conv2(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # (B, h, w, C/2)
        hidden = F.linear(F.gelu(self.norm2(hidden)), self.conv3.weight.flatten(1))
        return tokens + self.norm3(hidden)


class Mlp(nn.Module):
    """Two linear layers around an exact GELU: (..., C) -> (..., C)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens, without positions: (B, in_chans, H, W) -> (B, h, w, C)."""

    def __init__(self, in_chans: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, patch_size, patch_size)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.proj(inputs).permute(0, 2, 3, 1)


class ChannelNorm(nn.Module):
    """Layer normalisation over channels.

    A type of its own, since the published weight decay spares only `nn.LayerNorm`.
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return F.layer_norm(tokens, self.weight.shape, self.weight, self.bias, self.eps)


def _bicubic(length: int, wanted: int, device: torch.device) -> Tensor:
    """Matrix (wanted, length) of bicubic resizing along one axis with half-pixel centres."""
    identity = torch.eye(length, device=device)
    if wanted == length:
        return identity
    return F.interpolate(identity[None, None], size=(wanted, length), mode="bicubic")[0, 0]


@torch.no_grad()
def _draw_normal_(tensor: Tensor, std: float = 0.02) -> None:
    """Fill with normal numbers that are equal in every torch version.

    Drawn by inverse transform of uniform ones.
    """
    tensor.uniform_(-1, 1).erfinv_().mul_(std * 2**0.5).clamp_(-2, 2)


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        _draw_normal_(module.weight)
        nn.init.zeros_(module.bias)
