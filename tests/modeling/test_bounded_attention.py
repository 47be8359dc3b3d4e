"""Recomputed attention in parts equals the plain form, gradients included."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from modeling.backbone import attention
from modeling.backbone.attention import POLICY_EPS, attend_by_policy, attend_relative, relative_bias, relative_table
from modeling.base import MattingOutput
from tests.modeling.small import small_decoder, small_mematte, small_vit

HEIGHT, WIDTH, HEADS, DIM = 6, 7, 2, 8


def leaves(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def compare(bounded: Callable[..., Tensor], written_out: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    """Values and gradients to all inputs agree to 1e-5 of the largest."""
    results = []
    for function in (bounded, written_out):
        out = function(*inputs)
        weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
        results.append([out.detach(), *torch.autograd.grad((out * weights).sum(), inputs)])
    for ours, expected in zip(*results, strict=True):
        assert expected.abs().max() > 0
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def written_out_policy(q: Tensor, k: Tensor, v: Tensor, policy: Tensor) -> Tensor:
    count = q.shape[2]
    keys, own = policy.transpose(1, 2)[:, None], torch.eye(count)
    logits = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).float()
    weights = (logits - logits.amax(-1, keepdim=True)).exp() * (keys + (1 - keys) * own)
    return ((weights + POLICY_EPS / count) / (weights.sum(-1, keepdim=True) + POLICY_EPS)).to(v.dtype) @ v


@pytest.mark.parametrize("held", [1, 2 * HEADS * 5 * 42, 10**9])
def test_policy_attention_and_all_its_gradients(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    """Also for tokens whose attention peaks at a dropped key."""
    monkeypatch.setitem(attention.HELD_WEIGHTS, "cpu", held)
    q, k, v = leaves(*[(2, HEADS, HEIGHT * WIDTH, DIM)] * 3)
    policy = (torch.rand(2, HEIGHT * WIDTH, 1, generator=torch.Generator().manual_seed(1)) > 0.6).double()
    inputs = [q, (3 * k).detach().requires_grad_(), v, policy.requires_grad_()]
    compare(attend_by_policy, written_out_policy, inputs)


@pytest.mark.parametrize("held", [1, 2 * HEADS * 42 * WIDTH * 4, 10**9])
def test_relative_attention_and_all_its_gradients(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setitem(attention.HELD_WEIGHTS, "cpu", held)

    def bounded(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
        return attend_relative(q, k, v, relative_table(rows, HEIGHT), relative_table(cols, WIDTH))

    def written_out(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
        bias = relative_bias(q, relative_table(rows, HEIGHT), relative_table(cols, WIDTH))
        q, k, v = (part.flatten(2, 3) for part in (q, k, v))
        return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1) + bias).softmax(-1) @ v

    grid = (2, HEADS, HEIGHT, WIDTH, DIM)
    tables = [(2 * HEIGHT - 1, DIM), (2 * WIDTH - 1, DIM)]
    compare(bounded, written_out, leaves(grid, grid, grid, *tables))


def numbers_stored(function: Callable[..., object], *inputs: Tensor) -> list[int]:
    """Size of each memory block that the backward pass keeps."""
    blocks = {}

    def pack(tensor: Tensor) -> Tensor:
        blocks[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = function(*inputs)
    del kept
    return list(blocks.values())


def test_no_matrix_of_all_pairs_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(attention.HELD_WEIGHTS, "cpu", 1024)
    tokens = torch.randn(1, 16, 16, 32)
    plain, routed = (small_vit(kind).train().blocks[1].attn for kind in (False, True))
    assert max(numbers_stored(plain.over_grid, tokens)) < 256**2
    assert max(numbers_stored(routed.over_policy, tokens.flatten(1, 2), torch.ones(1, 256, 1))) < 256**2


def outputs_and_gradients(recompute: bool) -> tuple[MattingOutput, dict[str, Tensor]]:
    model = small_mematte()
    model.attach_teacher(small_vit(routed=False))
    model.train()
    model.checkpoint_activations(recompute)
    generator = torch.Generator().manual_seed(0)
    image, trimap = torch.rand(2, 3, 64, 96, generator=generator), torch.full((2, 1, 64, 96), 0.5)
    noise = [torch.randn(2, 24, 2, generator=generator) for _ in range(2)]
    output = model(image, trimap, noise)
    (output.alpha.square().mean() + output.features.square().mean()).backward()
    found = {name: part.grad for name, part in model.named_parameters() if part.grad is not None}
    return output, found | {name: part.float() for name, part in model.named_buffers()}


@pytest.mark.parametrize(("held", "accepted"), [(None, 1e-5), (100, 1e-5)])
def test_recomputed_activations_give_the_same_gradients_and_statistics(
    held: int | None, accepted: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also around attention in parts, which adds in another order.

    Batch norms in particular count each batch once.
    """
    expected_output, expected = outputs_and_gradients(False)
    if held is not None:
        monkeypatch.setitem(attention.HELD_WEIGHTS, "cpu", held)
    output, found = outputs_and_gradients(True)
    torch.testing.assert_close(output.alpha, expected_output.alpha, rtol=0, atol=1e-5 if held else 0)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        largest = float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=0, atol=accepted * largest + 1e-7, msg=name)


def test_recomputation_stores_less() -> None:
    inputs = torch.randn(1, 32, 4, 4).requires_grad_(), torch.randn(1, 4, 64, 64)
    sizes = {}
    for recompute in (True, False):
        decoder = small_decoder().train()
        decoder.recompute = recompute
        sizes[recompute] = sum(numbers_stored(decoder, *inputs))
    assert sizes[True] < 0.6 * sizes[False]
