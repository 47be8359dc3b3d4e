"""One whole training step of MEMatte-S with its teacher against published values."""

import numpy as np
import pytest
import torch

from modeling.backbone.vit import ViT
from modeling.criterion import MEMatteCriterion, training_trimap
from modeling.decoder.detail_capture import DetailCapture
from modeling.mematte import MEMatte
from tests.golden_files import load_golden
from tests.reference.weights import fill_

LOSSES = (
    "unknown_l1_loss", "known_l1_loss", "loss_pha_laplacian", "loss_gradient_penalty", "distill_loss", "mse_ratio_loss",
)  # fmt: skip
ZERO_IN_THEORY = "decoder.matting_head.matting_convs.0.bias"  # a batch norm follows


@pytest.fixture(scope="module")
def golden():
    return load_golden("mematte_s_train_step")


@pytest.fixture(scope="module")
def step(golden):
    """Model after the backward pass, its output and its losses."""
    model = MEMatte(ViT(routed=True), DetailCapture())
    model.attach_teacher(ViT())
    fill_(model.state_dict())
    model.train()
    image = torch.from_numpy(golden["image"]).permute(0, 3, 1, 2).float() / 255
    trimap = training_trimap(torch.from_numpy(golden["trimap"])[:, None])
    noise = torch.from_numpy(golden["gumbel_noise"])
    output = model(image, trimap, gumbel_noise=noise)
    losses = MEMatteCriterion()(output, torch.from_numpy(golden["alpha_gt"]), trimap)
    sum(losses.values()).backward()
    return model, output, losses


def test_routing_and_outputs(golden, step):
    _, output, _ = step
    keep = torch.stack([policy.flatten(1) for policy in output.keep]).detach().numpy()
    np.testing.assert_array_equal(keep.round().astype(np.uint8), golden["keep"])
    np.testing.assert_allclose(output.alpha.detach(), golden["pred_alpha"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(output.features.detach()[:, ::16], golden["student_features_probe"], rtol=0, atol=5e-4)
    np.testing.assert_allclose(output.teacher_features[:, ::16], golden["teacher_features_probe"], rtol=0, atol=5e-4)


def test_losses(golden, step):
    losses = step[2]
    assert tuple(losses) == LOSSES
    for name in LOSSES:
        key = name if name.startswith("loss_") else f"loss_{name}"
        assert losses[name].item() == pytest.approx(float(golden[key]), rel=1e-5), name
    assert sum(losses.values()).item() == pytest.approx(float(golden["loss_total"]), rel=1e-5)


def test_gradients(golden, step):
    gradients = {name: p.grad for name, p in step[0].named_parameters() if p.requires_grad}
    norms = dict(zip(golden["grad_names"].tolist(), golden["grad_norms"].tolist(), strict=True))
    assert len(gradients) == 294 and gradients.keys() == norms.keys()
    for name, norm in norms.items():
        found = gradients[name].double().norm().item()
        if name == ZERO_IN_THEORY:
            assert found < 1e-4
        else:
            assert found == pytest.approx(norm, rel=1e-2), name
    for key in (key for key in golden if key.startswith("grad:")):
        wanted = torch.from_numpy(golden[key])
        found = gradients[key.removeprefix("grad:")]
        assert (found - wanted).norm() < 1e-2 * wanted.norm(), key


def test_the_teacher_stays_frozen_and_batch_norms_move(golden, step):
    model = step[0]
    assert not model.teacher_backbone.training and all(p.grad is None for p in model.teacher_backbone.parameters())
    state = model.state_dict()
    for key in (key for key in golden if key.startswith("bn_after:")):
        np.testing.assert_allclose(state[key.removeprefix("bn_after:")], golden[key], rtol=1e-5, atol=1e-6)


def test_training_trimaps_are_exact_and_the_batch_is_left_alone():
    grey = torch.tensor([0, 84, 85, 128, 169, 170, 255], dtype=torch.uint8)
    before = grey.clone()
    assert training_trimap(grey).tolist() == [0, 0, 0.5, 0.5, 0.5, 1, 1]
    as_float = grey.float()
    training_trimap(as_float)
    assert torch.equal(grey, before) and torch.equal(as_float, before.float())
