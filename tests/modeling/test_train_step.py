"""Training step of a small MEMatte with its teacher.

The published step is among the golden files.
"""

import copy

import torch

from modeling.inputs import training_trimap
from modeling.losses.criteria import MEMatteCriterion
from tests.modeling.small import small_mematte, small_vit

LOSSES = (
    "unknown_l1_loss",
    "known_l1_loss",
    "loss_pha_laplacian",
    "loss_gradient_penalty",
    "distill_loss",
    "mse_ratio_loss",
)


def test_all_but_the_teacher_learn():
    model = small_mematte()
    model.attach_teacher(small_vit(routed=False))
    model.train()
    before = copy.deepcopy(model.state_dict())
    trimap = training_trimap(torch.tensor([0, 128, 255], dtype=torch.uint8).repeat_interleave(32).expand(2, 1, 64, 96))
    output = model(torch.rand(2, 3, 64, 96), trimap)
    losses = MEMatteCriterion()(output, torch.rand(2, 1, 64, 96), trimap)
    sum(losses.values()).backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()

    assert tuple(losses) == LOSSES
    assert not model.teacher_backbone.training
    teacher = {name for name in before if name.startswith("teacher_backbone.")}
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert teacher and not moved & teacher
    assert not before.keys() - teacher - moved


def test_training_trimaps_are_exact_and_the_batch_is_left_alone():
    grey = torch.tensor([0, 84, 85, 128, 169, 170, 255], dtype=torch.uint8)
    before = grey.clone()
    assert training_trimap(grey).tolist() == [0, 0, 0.5, 0.5, 0.5, 1, 1]
    as_float = grey.float()
    training_trimap(as_float)
    assert torch.equal(grey, before) and torch.equal(as_float, before.float())
