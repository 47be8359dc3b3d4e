import pytest
import torch

from modeling.backbone.mimetic import QUERY_KEY, VALUE_OUTPUT
from modeling.backbone.vit import ViT


def fresh_vit() -> ViT:
    torch.manual_seed(0)
    return ViT(embed_dim=96, depth=2, num_heads=3, global_blocks=[1], routed=True, mimetic=True)


@torch.no_grad()
def test_products_of_the_weights_lie_near_multiples_of_the_identity() -> None:
    for block in fresh_vit().blocks:
        query, key, value = block.attn.qkv.weight.split(96)
        for head in range(3):
            rows = slice(32 * head, 32 * head + 32)
            diagonal = (query[rows].t() @ key[rows]).diagonal()
            assert 0.2 * QUERY_KEY[1] < diagonal.mean() < QUERY_KEY[1]  # what 32 of 96 directions can hold
        product = block.attn.proj.weight @ value
        assert abs(product.diagonal().mean() - VALUE_OUTPUT[1]) < 0.1


@torch.no_grad()
def test_heads_differ_and_blocks_differ() -> None:
    first, second = (block.attn.qkv.weight for block in fresh_vit().blocks)
    assert not torch.allclose(first, second, atol=1e-2)
    assert not torch.allclose(first[:32], first[32:64], atol=1e-2)


@torch.no_grad()
def test_tokens_attend_to_similar_ones_from_the_start() -> None:
    attention = fresh_vit().blocks[1].attn
    prototypes = torch.randn(2, 96)
    kind = torch.arange(40) % 2
    tokens = prototypes[kind] + 0.3 * torch.randn(40, 96)
    query, key, _ = attention.qkv(tokens).unflatten(-1, (3, 3, 32)).unbind(1)  # (40, heads, 32)
    weights = (torch.einsum("nhd,mhd->hnm", query, key) / 32**0.5).softmax(dim=-1)
    alike = (kind[:, None] == kind).float()
    assert (weights * alike).sum(dim=-1).mean() > 0.8


@torch.no_grad()
def test_positions_tell_near_from_far() -> None:
    grid = fresh_vit().pos_embed[0, 1:].view(14, 14, 96)
    distances = (grid - grid[3, 5]).norm(dim=-1)
    assert distances[3, 5] == 0 and (distances > 0).sum() == 14 * 14 - 1
    assert distances[3, 6] < distances[3, 9] < distances[12, 13]


def test_threads_neither_share_the_work_nor_stay_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    used, svd = [], torch.linalg.svd
    monkeypatch.setattr(torch.linalg, "svd", lambda matrix: (used.append(torch.get_num_threads()), svd(matrix))[1])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fresh_vit()
        assert set(used) == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
