"""The bound on attention logits."""

import pytest
import torch

from engine.training.logits import BoundLogits, bound_logits_
from modeling import ViTMatte
from modeling.backbone.vit import Block
from tests.modeling.small import small_decoder, small_vit

DIM, HEADS, SIDE = 32, 2, 4


def grown_block() -> Block:
    torch.manual_seed(0)
    block = Block(DIM, HEADS, 2.0, SIDE, SIDE, routed=False)
    with torch.no_grad():
        for parameter in (block.attn.qkv.weight, block.attn.qkv.bias, block.attn.rel_pos_h, block.attn.rel_pos_w):
            parameter.copy_(torch.randn_like(parameter))
        block.norm1.weight.uniform_(0.5, 2.0)
        block.norm1.bias.uniform_(-0.5, 0.5)
    return block


def logits(block: Block) -> torch.Tensor:
    """(HEADS, 2000, 2000) between independent tokens of independent channels, without positions."""
    normed = torch.randn(2000, DIM) * block.norm1.weight + block.norm1.bias
    query, key, _ = block.attn.qkv(normed).view(2000, 3, HEADS, DIM // HEADS).permute(1, 2, 0, 3)
    return query @ key.mT / (DIM // HEADS) ** 0.5


@torch.no_grad()
def test_large_logits_shrink_to_the_bound() -> None:
    block = grown_block()
    assert logits(block).square().mean(dim=(1, 2)).sqrt().min() > 10
    bound_logits_(block, 1.5)
    found = logits(block).square().mean(dim=(1, 2)).sqrt()
    assert found.tolist() == pytest.approx([1.5, 1.5], rel=0.05)
    normed = torch.randn(2000, DIM) * block.norm1.weight + block.norm1.bias
    query = block.attn.qkv(normed)[:, :DIM].view(2000, HEADS, DIM // HEADS)
    for table in (block.attn.rel_pos_h, block.attn.rel_pos_w):
        spread = torch.einsum("nhd,pd->pnh", query, table).square().mean(dim=(1, 2)).sqrt()
        assert spread.max().item() == pytest.approx(1.5, rel=0.1)


def test_what_is_within_the_bound_and_values_stay() -> None:
    block = grown_block()
    before = {name: value.clone() for name, value in block.state_dict().items()}
    bound_logits_(block, 1e4)
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())
    bound_logits_(block, 1.0)
    changed = {name for name, value in block.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"attn.qkv.weight", "attn.qkv.bias", "attn.rel_pos_h", "attn.rel_pos_w"}
    assert torch.equal(block.attn.qkv.weight[2 * DIM :], before["attn.qkv.weight"][2 * DIM :])


def test_blocks_without_relative_tables_are_bound_too() -> None:
    block = Block(DIM, HEADS, 2.0, None, None, routed=True)
    torch.nn.init.normal_(block.attn.qkv.weight)
    bound_logits_(block, 0.5)
    assert logits(block).square().mean(dim=(1, 2)).sqrt().tolist() == pytest.approx([0.5, 0.5], rel=0.05)


def test_frozen_blocks_are_left_alone() -> None:
    model = ViTMatte(small_vit(routed=False), small_decoder())
    model.backbone.blocks[0].requires_grad_(False)
    hook = BoundLogits(model, 1e-3)
    before = [block.attn.qkv.weight.clone() for block in model.backbone.blocks]
    hook.after_step()
    same = [torch.equal(b.attn.qkv.weight, w) for b, w in zip(model.backbone.blocks, before, strict=True)]
    assert same[0] and not any(same[1:])
