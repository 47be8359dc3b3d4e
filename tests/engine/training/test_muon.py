import copy

import pytest
import torch
from torch import nn

from engine.training.muon import Muon, muon_groups, orthogonalised
from modeling import ViTMatte
from tests.modeling.small import small_decoder, small_vit


@pytest.mark.parametrize("shape", [(16, 16), (24, 200), (200, 24)])
def test_orthogonalised_keeps_singular_vectors_and_levels_their_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    sizes = torch.linspace(0.1, 3, len(right))
    found = left.t() @ orthogonalised((left * sizes) @ right).float() @ right.t()
    assert 0.5 < found.diagonal().min() and found.diagonal().max() < 1.3
    assert (found - torch.diag(found.diagonal())).abs().max() < 0.05


def test_a_cpu_orthogonalises_in_float32() -> None:
    """Many CPUs compute in bfloat16 far slower."""
    assert orthogonalised(torch.randn(16, 20)).dtype == torch.float32


def test_every_parameter_is_in_one_group() -> None:
    model = ViTMatte(small_vit(routed=False), small_decoder())
    model.backbone.blocks[0].requires_grad_(False)
    groups = muon_groups(model, lr=1e-3, weight_decay=0.1)
    matrices, decaying, spared = [{id(p) for p in group["params"]} for group in groups]
    assert matrices | decaying | spared == {id(p) for p in model.parameters() if p.requires_grad}
    assert len(matrices) + len(decaying) + len(spared) == sum(len(group["params"]) for group in groups)
    assert id(model.backbone.blocks[1].mlp.fc1.weight) in matrices
    assert id(model.decoder.fusion_blks[0].conv.conv.weight) in matrices
    assert id(model.backbone.blocks[1].mlp.fc1.bias) in decaying
    assert id(model.backbone.blocks[1].attn.rel_pos_h) in decaying
    assert id(model.decoder.matting_head.matting_convs[3].weight) in decaying  # one row: nothing to orthogonalise
    assert {id(model.backbone.pos_embed), id(model.backbone.blocks[1].norm1.weight)} <= spared
    assert [group["weight_decay"] for group in groups] == [0.1, 0.1, 0.0]


def test_factors_of_the_rate_by_name() -> None:
    model = ViTMatte(small_vit(routed=False), small_decoder())
    groups = muon_groups(model, lr=1e-3, weight_decay=0.1, factors={"decoder.matting_head": 10.0, "decoder": 0.5})
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert len(rates) == len(list(model.parameters())) == sum(len(group["params"]) for group in groups)
    for name, parameter in model.named_parameters():
        factor = 10.0 if "matting_head" in name else 0.5 if name.startswith("decoder") else 1.0
        assert rates[id(parameter)] == pytest.approx(factor * 1e-3), name


def test_factors_of_unknown_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"begins with 'decoder\.head'"):
        muon_groups(ViTMatte(small_vit(routed=False), small_decoder()), 1e-3, 0.1, factors={"decoder.head": 2.0})


def test_other_parameters_move_as_under_adamw() -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(40))
    theirs = nn.Parameter(ours.detach().clone())
    muon = Muon([{"params": [ours], "lr": 1e-2, "weight_decay": 0.1, "orthogonal": False}])
    adamw = torch.optim.AdamW([theirs], lr=1e-2, weight_decay=0.1)
    for _ in range(10):
        ours.grad = torch.randn(40)
        theirs.grad = ours.grad.clone()
        muon.step()
        adamw.step()
    torch.testing.assert_close(ours, theirs)


def test_steps_of_matrices_are_as_large_as_adamws_and_ignore_the_scale_of_gradients() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(24, 48, 3, bias=False)
    before, grad = layer.weight.detach().clone(), torch.randn_like(layer.weight)
    moves = []
    for factor in (1e-4, 1e4):
        copied = copy.deepcopy(layer)
        copied.weight.grad = factor * grad
        Muon(muon_groups(copied, lr=1e-2, weight_decay=0.0)).step()
        moves.append(copied.weight.detach() - before)
    assert torch.cosine_similarity(moves[0].flatten(), moves[1].flatten(), dim=0) > 0.99  # bfloat16
    assert 0.1e-2 < moves[0].square().mean().sqrt() < 0.3e-2


def test_state_survives_saving() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(20, 30)]
    optimizers = [Muon(muon_groups(layers[0], lr=1e-2, weight_decay=0.05))]

    def step(index: int, seed: int) -> None:
        for parameter in layers[index].parameters():
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
        optimizers[index].step()

    step(0, 1)
    layers.append(copy.deepcopy(layers[0]))
    optimizers.append(Muon(muon_groups(layers[1], lr=1.0, weight_decay=0.0)))
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    for index in range(2):
        step(index, 2)
    assert torch.equal(layers[0].weight, layers[1].weight) and torch.equal(layers[0].bias, layers[1].bias)
