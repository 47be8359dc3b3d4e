"""Initial attention weights that imitate pretrained transformers, for training from scratch.

After Trockman & Kolter, "Mimetic Initialization of Self-Attention Layers" (ICML 2023): the product of query and key
weights is near a multiple of the identity, so that tokens attend to similar ones from the first step on (here: to
patches of the same colours); that of value and output weights is near a negative multiple, which subtracts what
similar tokens share; positions are sines.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..precision import one_thread

QUERY_KEY = (0.7, 0.7)  # random part, identity
VALUE_OUTPUT = (0.4, -0.4)
POSITION_STD = 0.1
LONGEST_WAVE = 100.0  # tokens


@torch.no_grad()
@one_thread()  # on a busy machine, threads that share so small matrices wait for minutes
def initialise_mimetic(pos_embed: nn.Parameter, attentions: Iterable[nn.Module]) -> None:
    """Set position embeddings (1, 1 + side**2, C) and the linears `qkv` and `proj` of each attention."""
    if pos_embed.is_meta:  # nothing to set
        return
    count, dim = pos_embed.shape[1:]
    pos_embed[0, 1:] = _sines(round((count - 1) ** 0.5), dim)
    for attention in attentions:
        query, key, value = attention.qkv.weight.split(dim)
        for head in torch.arange(dim).chunk(attention.num_heads):
            left, right = _factors(dim, len(head), *QUERY_KEY)
            query[head], key[head] = left.t(), right.t()
        left, right = _factors(dim, dim, *VALUE_OUTPUT)
        value.copy_(left.t())
        attention.proj.weight.copy_(right)


def _factors(dim: int, rank: int, random: float, identity: float) -> tuple[Tensor, Tensor]:
    """Factors (dim, rank) of a noisy identity: best product left @ right.t()."""
    wanted = random * torch.randn(dim, dim) / dim**0.5 + identity * torch.eye(dim)
    left, sizes, right = torch.linalg.svd(wanted)
    roots = sizes[:rank].sqrt()
    return left[:, :rank] * roots, right[:rank].t() * roots


def _sines(side: int, dim: int) -> Tensor:
    """Position embeddings (side * side, dim): sines and cosines per axis.

    One half belongs to the row, the other to the column.
    """
    quarter = dim // 4
    frequencies = LONGEST_WAVE ** -(torch.arange(quarter) / quarter)
    angles = torch.arange(side)[:, None] * frequencies  # (side, dim / 4)
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, dim / 2)
    grid = torch.cat([line[:, None].expand(-1, side, -1), line.expand(side, -1, -1)], dim=2)
    return grid.flatten(0, 1) * POSITION_STD * 2**0.5
