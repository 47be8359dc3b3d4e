"""AEMatter's criterion against numbers worked out by hand and a direct blur."""

import math

import numpy as np
import pytest
import torch

from modeling.criterion import AEMatterCriterion
from modeling.losses import band_loss, gaussian_bands, unknown_l1
from modeling.output import MattingOutput


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
    torch.testing.assert_close(band_loss(x, torch.zeros_like(x)), sum(
        2**k * band.abs().mean() for k, band in enumerate([bands[0], *gaussian_bands(halved, 4)])))  # fmt: skip


def test_known_region_counts_only_where_it_is_wrong():
    trimap = torch.full((1, 1, 48, 48), 0.5)
    trimap[..., :16], trimap[..., 32:] = 0, 1
    target = (trimap == 1).float()
    losses = AEMatterCriterion()(MattingOutput(torch.where(trimap == 0.5, 0.0, 0.3)), target, trimap)
    assert losses["l1_loss"].item() == 0 and losses["laplacian_loss"].item() == 0
    assert losses["unknown_l1_loss"].item() < 2e-6  # the smoothing of 48 * 48 pixels
    wrong = AEMatterCriterion()(MattingOutput(torch.zeros_like(target)), 1 - target, trimap)
    assert wrong["l1_loss"].item() == pytest.approx(0.5)


def test_too_small_crops_are_refused():
    with pytest.raises(ValueError, match="48 px"):
        gaussian_bands(torch.zeros(1, 1, 47, 64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_are_finite_in_half_precision(dtype: torch.dtype):
    alpha = torch.zeros(1, 1, 48, 48, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = AEMatterCriterion()(MattingOutput(alpha), torch.zeros(1, 1, 48, 48), torch.full((1, 1, 48, 48), 0.5))
    sum(losses.values()).backward()
    assert alpha.grad.isfinite().all()
