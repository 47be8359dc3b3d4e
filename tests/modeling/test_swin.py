"""Swin blocks against a plain formula, and bands against the whole."""

import pytest
import torch
from torch import Tensor

from modeling.backbone.swin import (
    NormedPatchEmbed,
    PatchMerging,
    SwinBlock,
    SwinEncoder,
    from_windows,
    relative_position_index,
    to_windows,
)
from modeling.inference.swin import run_block
from tools.reference.weights import fill_


def filled(module: torch.nn.Module) -> torch.nn.Module:
    fill_(module.state_dict())
    return module.eval()


def written_out_attention(block: SwinBlock, tokens: Tensor, prior: Tensor | None) -> Tensor:
    """x + A(LN1(x)) for one image, query by query, straight from the definition. (H, W, C)."""
    height, width, dim = tokens.shape
    size, shift, heads = block.window, block.shift, block.attn.num_heads
    padded_h, padded_w = height + -height % size, width + -width % size
    normed = torch.zeros(padded_h, padded_w, dim)
    normed[:height, :width] = block.norm1(tokens)
    q, k, v = block.attn.qkv(normed).chunk(3, dim=-1)
    table = block.attn.relative_position_bias_table
    extra_k = extra_v = None
    if prior is not None:
        _, extra_k, extra_v = block.attn.qkv(block.norm1(prior)).chunk(3, dim=-1)

    def region(i: int, n: int) -> int:
        return 0 if i < n - size else 1 if i < n - shift else 2

    head_dim = dim // heads
    out = torch.zeros_like(tokens)
    for y in range(height):
        for x in range(width):
            sy, sx = (y - shift) % padded_h, (x - shift) % padded_w  # place after rolling by (-shift, -shift)
            keys, values, bias = [], [], []
            for ky in range(sy // size * size, sy // size * size + size):
                for kx in range(sx // size * size, sx // size * size + size):
                    my, mx = (ky + shift) % padded_h, (kx + shift) % padded_w
                    keys.append(k[my, mx])
                    values.append(v[my, mx])
                    row = table[(sy - ky + size - 1) * (2 * size - 1) + sx - kx + size - 1]
                    apart = (region(ky, padded_h), region(kx, padded_w)) != (region(sy, padded_h), region(sx, padded_w))
                    bias.append(row + (-100.0 if shift and apart else 0.0))
            if prior is not None:
                keys.extend(extra_k)
                values.extend(extra_v)
                bias.extend(table[(2 * size - 1) ** 2 :])
            keys_, values_ = torch.stack(keys).view(-1, heads, head_dim), torch.stack(values).view(-1, heads, head_dim)
            logits = torch.einsum("hd,khd->kh", q[y, x].view(heads, -1) * head_dim**-0.5, keys_) + torch.stack(bias)
            out[y, x] = torch.einsum("kh,khd->hd", logits.softmax(0), values_).flatten()
    return tokens + block.attn.proj(out)


@pytest.mark.parametrize(("height", "width"), [(4, 5), (7, 7), (9, 12), (1, 1)])
@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("prior_tokens", [0, 6])
@torch.no_grad()
def test_block_equals_definition(height: int, width: int, shift: int, prior_tokens: int):
    torch.manual_seed(0)
    block = filled(SwinBlock(16, 2, shift=shift, prior_tokens=prior_tokens))
    tokens = torch.randn(1, height, width, 16)
    prior = torch.randn(1, prior_tokens, 16) if prior_tokens else None
    attended = written_out_attention(block, tokens[0], None if prior is None else prior[0])
    expected = attended + block.mlp(block.norm2(attended))
    torch.testing.assert_close(block(tokens, prior)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 3), (15, 33), (21, 14), (24, 8)])
@pytest.mark.parametrize("shift", [0, 3])
@torch.no_grad()
def test_bands_equal_whole(height: int, width: int, shift: int):
    torch.manual_seed(1)
    block = filled(SwinBlock(16, 2, shift=shift, prior_tokens=3))
    tokens, prior = torch.randn(2, height, width, 16), torch.randn(2, 3, 16)
    whole = block(tokens, prior)
    for chunk in (1, 150, 10_000):
        torch.testing.assert_close(run_block(block, tokens, prior, chunk), whole, rtol=1e-6, atol=1e-6)


def test_windows_round_trip_and_index():
    tokens = torch.arange(2 * 14 * 21 * 3).view(2, 14, 21, 3)
    assert torch.equal(from_windows(to_windows(tokens, 7), 7, 21), tokens)
    index = relative_position_index(7, 3)
    assert index.dtype == torch.int64 and index.shape == (49, 52)
    assert index[0, 0] == 84 and index[48, 0] == 168 and index[0, 48] == 0
    assert index[5, 49:].tolist() == [169, 170, 171]


@torch.no_grad()
def test_prior_update_is_attention_to_itself():
    torch.manual_seed(2)
    block = filled(SwinBlock(16, 2, prior_tokens=3))
    prior = torch.randn(2, 3, 16)
    value = block.attn.qkv(block.norm1(prior)).chunk(3, dim=-1)[2]
    after = prior + block.attn.proj(value)
    torch.testing.assert_close(block.update_prior(prior), after + block.mlp(block.norm2(after)))


def test_merging_phase_order_and_odd_sizes():
    merging = PatchMerging(1)
    merging.norm = torch.nn.Identity()
    with torch.no_grad():
        merging.reduction.weight.copy_(torch.eye(4)[:2] + 2 * torch.eye(4)[2:])
    tokens = torch.tensor([[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]).view(1, 2, 3, 1)
    out = merging(tokens)
    assert out.shape == (1, 1, 2, 2)
    assert out[0, 0, 0].tolist() == [1 + 2 * 3, 2 + 2 * 4]  # (even, even) + 2 (even, odd); (odd, even) + 2 (odd, odd)
    assert out[0, 0, 1].tolist() == [5, 6]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_autocast_stays_finite_with_huge_logits(dtype: torch.dtype):
    block = filled(SwinBlock(16, 2, shift=3))
    block.attn.qkv.weight.mul_(1e3)
    with torch.autocast("cpu", dtype=dtype):
        assert block(100 * torch.randn(1, 9, 9, 16, generator=torch.Generator().manual_seed(3))).isfinite().all()


def test_stochastic_depth_drops_whole_samples_in_training_only():
    torch.manual_seed(4)
    block = SwinBlock(16, 2, drop_path=0.5)
    tokens = torch.randn(64, 2, 2, 16)
    unchanged = (block.train()(tokens) == tokens).flatten(1).all(1)
    assert 4 < unchanged.sum() < 32  # both branches dropped: a quarter expected
    assert not (block.eval()(tokens) == tokens).flatten(1).all(1).any()


@torch.no_grad()
def test_encoder_sizes():
    encoder = SwinEncoder(NormedPatchEmbed(6, 24, 4, 4, 0), 24, (1, 1), (3, 6))
    features = encoder(torch.randn(1, 6, 32, 64))
    assert [tuple(f.shape) for f in features] == [(1, 24, 8, 16), (1, 48, 4, 8)]
