"""Loss terms: hand-computed numbers, empty masks and ignored regions."""

import math

import numpy as np
import pytest
import torch

from modeling.losses.terms import (
    band_loss,
    distillation_loss,
    gaussian_bands,
    laplacian_pyramid,
    masked_divergence,
    masked_l1,
    matting_losses,
    ratio_loss,
    unknown_l1,
)

TERMS = ("unknown_l1_loss", "known_l1_loss", "loss_pha_laplacian", "loss_gradient_penalty")


@pytest.mark.parametrize("unknown", [0.0, 1.0])
def test_an_empty_mask_adds_nothing_and_stays_finite(unknown):
    pred = torch.rand(2, 1, 64, 64).requires_grad_()
    losses = matting_losses(pred, torch.rand(2, 1, 64, 64), torch.full((2, 1, 64, 64), unknown))
    sum(losses.values()).backward()

    empty = "known_l1_loss" if unknown else "unknown_l1_loss"
    assert losses[empty] == 0
    assert all(loss.isfinite() for loss in losses.values()) and pred.grad.isfinite().all()


def test_masked_l1_is_the_mean_over_the_mask_on_published_crops():
    pred, mask = torch.rand(1, 1, 512, 512), torch.zeros(1, 1, 512, 512)
    mask[..., 100:200, 50:90] = 1
    pred[..., 100:200, 50:90] = 0.75
    torch.testing.assert_close(masked_l1(pred, torch.full_like(pred, 0.5), mask), torch.tensor(0.25))


def test_the_gradient_of_the_divergence_does_not_vanish_where_a_confident_alpha_is_wrong():
    logit = torch.full((1, 1, 512, 512), -6.0, requires_grad=True)
    target, mask = torch.full((1, 1, 512, 512), 0.5), torch.zeros(1, 1, 512, 512)
    mask[..., :2, :2] = 1
    target[..., 0, 0] = 1
    masked_divergence(logit.sigmoid(), target, mask).backward()
    torch.testing.assert_close(4 * logit.grad, (logit.sigmoid() - target) * mask)


def test_the_divergence_is_that_of_two_coins():
    alpha, target = torch.full((1, 1, 64, 64), 0.25), torch.full((1, 1, 64, 64), 0.5)
    found = masked_divergence(alpha, target, torch.ones_like(alpha)) * 64 * 64 / 512 / 512
    assert found.item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75))
    certain = torch.tensor([0.0, 1.0]).repeat(1, 1, 64, 32)
    assert masked_divergence(certain, certain, torch.ones_like(certain)).item() == 0


def test_a_perfect_matte_costs_only_the_sparsity_of_its_gradients():
    alpha = torch.rand(1, 1, 64, 96)
    losses = matting_losses(alpha, alpha, torch.ones_like(alpha))
    assert [name for name in TERMS if losses[name] > 0] == ["loss_gradient_penalty"]


def test_the_pyramid_refuses_small_crops():
    with pytest.raises(ValueError, match="at least 64"):
        laplacian_pyramid(torch.rand(1, 1, 63, 80))


def test_ratio_and_distillation():
    policies = [torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])]
    assert ratio_loss(policies, 0.25).item() == pytest.approx(0.25)  # (3/4 - 1/4)^2
    assert distillation_loss(torch.full((1, 2, 2, 2), 3.0), torch.ones(1, 2, 2, 2)).item() == pytest.approx(4)


def test_unknown_l1_counts_five_more_pixels():
    alpha, target, unknown = torch.full((2, 1, 2, 5), 0.75), torch.full((2, 1, 2, 5), 0.25), torch.ones(2, 1, 2, 5)
    unknown[1] = 0
    first, second = 10 * 0.5 / 15, 10 * 1e-6 / 5  # without unknown pixels only the smoothing is left
    assert unknown_l1(alpha, target, unknown).item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_first_band_is_the_difference_from_a_gaussian_blur():
    x = torch.rand(1, 1, 48, 50, generator=torch.Generator().manual_seed(0))
    weights = np.array([[math.exp(-(i * i + j * j) / 4.5) for j in range(-2, 3)] for i in range(-2, 3)])
    weights /= weights.sum()
    mirrored = np.pad(x[0, 0].numpy(), 2, mode="reflect")
    blurred = sum(weights[i, j] * mirrored[i : i + 48, j : j + 50] for i in range(5) for j in range(5))
    bands = gaussian_bands(x)
    np.testing.assert_allclose(bands[0][0, 0].numpy(), x[0, 0].numpy() - blurred, atol=1e-6)
    assert [tuple(band.shape[2:]) for band in bands] == [(48, 50), (24, 25), (12, 12), (6, 6), (3, 3)]
    halved = torch.nn.functional.avg_pool2d(torch.from_numpy(blurred).float()[None, None], 2)
    torch.testing.assert_close(
        band_loss(x, torch.zeros_like(x)),
        sum(2**k * band.abs().mean() for k, band in enumerate([bands[0], *gaussian_bands(halved, 4)])),
    )


def test_crops_too_small_for_bands_are_refused():
    with pytest.raises(ValueError, match="48 px"):
        gaussian_bands(torch.zeros(1, 1, 47, 64))
