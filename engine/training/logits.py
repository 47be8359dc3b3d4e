"""A bound on the spread of attention logits in training.

Steps of Muon have the same length however small the gradient, so query and key weights grow until each token attends
to a single other one, where attention has no gradient left: without a bound the logits of the tiny models reached
standard deviations of 13 to 150, and their attention could be taken out without any change of the loss. After the
"QK-clip" of Kimi Team, "Kimi K2" (2025), but by the weights alone.
"""

import torch
from detectron2.engine import HookBase
from torch import Tensor, nn

from modeling.backbone.vit import Block


class BoundLogits(HookBase):
    """Shrinking of query, key and relative weights with large logits, per step."""

    def __init__(self, model: nn.Module, max_std: float) -> None:
        blocks = [module for module in model.modules() if isinstance(module, Block)]
        self.blocks = [block for block in blocks if block.attn.qkv.weight.requires_grad]
        self.max_std = max_std

    def after_step(self) -> None:
        for block in self.blocks:
            bound_logits_(block, self.max_std)


@torch.no_grad()
def bound_logits_(block: Block, max_std: float) -> None:
    """Bound the standard deviation of a block's logits to `max_std`.

    Each row of its relative tables is held to the same.

    It is that over pairs of independent tokens whose normalised channels are independent too.
    """
    attention, norm = block.attn, block.norm1
    dim, heads = norm.weight.shape[0], attention.num_heads
    weight, bias = attention.qkv.weight, attention.qkv.bias
    constant = (bias + weight @ norm.bias)[:, None]
    rows = torch.cat([weight * norm.weight, constant], dim=1)  # (3C, C + 1): of normalised channels, and of 1
    query, key = rows[: 2 * dim].view(2, heads, dim // heads, dim + 1)
    spread = (query @ query.mT * (key @ key.mT)).sum(dim=(1, 2)).sqrt() / (dim // heads) ** 0.5  # (heads)
    factor = (max_std / spread).clamp(max=1.0).sqrt()
    scale = factor.repeat_interleave(dim // heads).repeat(2)  # (2C): of queries and keys
    weight[: 2 * dim] *= scale[:, None]
    bias[: 2 * dim] *= scale
    query = query * factor[:, None, None]
    for name, table in attention.named_parameters(recurse=False):
        if name.startswith("rel_pos"):  # which global blocks that route have not
            _bound_table_(table, query, max_std)


def _bound_table_(table: Tensor, query: Tensor, max_std: float) -> None:
    """Shrink rows of (positions, C / heads) whose product with the queries (heads, C / heads, ...) spreads too far."""
    spread = torch.einsum("pd,hdc->hpc", table, query).square().sum(dim=2).mean(dim=0).sqrt()  # (positions)
    table *= (max_std / spread.clamp_min(1e-12)).clamp(max=1.0)[:, None]
