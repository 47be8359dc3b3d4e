"""AEMatter's criterion.

The others are held to published training steps in test_train_step.py and test_diffmatte.py.
"""

import pytest
import torch

from modeling.base import MattingOutput
from modeling.losses.criteria import AEMatterCriterion, MEMatteCriterion


def test_known_region_counts_only_where_it_is_wrong():
    trimap = torch.full((1, 1, 48, 48), 0.5)
    trimap[..., :16], trimap[..., 32:] = 0, 1
    target = (trimap == 1).float()
    losses = AEMatterCriterion()(MattingOutput(torch.where(trimap == 0.5, 0.0, 0.3)), target, trimap)
    assert losses["l1_loss"].item() == 0 and losses["laplacian_loss"].item() == 0
    assert losses["unknown_l1_loss"].item() < 2e-6  # the smoothing of 48 * 48 pixels
    wrong = AEMatterCriterion()(MattingOutput(torch.zeros_like(target)), 1 - target, trimap)
    assert wrong["l1_loss"].item() == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_are_finite_in_half_precision(dtype: torch.dtype):
    alpha = torch.zeros(1, 1, 48, 48, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = AEMatterCriterion()(MattingOutput(alpha), torch.zeros(1, 1, 48, 48), torch.full((1, 1, 48, 48), 0.5))
    sum(losses.values()).backward()
    assert alpha.grad.isfinite().all()


def test_the_share_is_held_over_all_blocks_or_in_each():
    alpha, trimap = torch.rand(1, 1, 64, 64), torch.full((1, 1, 64, 64), 0.5)
    keep = [torch.ones(1, 4, 4), torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)]  # 25 % in all
    output = MattingOutput(alpha=alpha, policy=keep)
    over_all = MEMatteCriterion(ratio_weight=4.0)(output, alpha, trimap)["mse_ratio_loss"]
    in_each = MEMatteCriterion(ratio_weight=4.0, per_block=True)(output, alpha, trimap)["mse_ratio_loss"]
    assert over_all == 0
    assert in_each == pytest.approx(0.75**2 + 3 * 0.25**2)


def test_distillation_counts_known_tokens_as_little_as_wanted():
    alpha, trimap = torch.rand(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    trimap[..., 40, 3] = 0.5  # one of the four tokens
    features = torch.tensor([[[[1.0, 2.0], [3.0, 1.0]]]])
    output = MattingOutput(
        alpha=alpha, policy=[torch.ones(1, 2, 2)], features=features, teacher_features=torch.zeros(1, 1, 2, 2)
    )
    for weight, expected in [(1.0, 15 / 4), (0.5, (0.5 * 6 + 9) / 2.5), (0.0, 9.0)]:
        found = MEMatteCriterion(distill_known_weight=weight)(output, alpha, trimap)["distill_loss"]
        assert found.item() == pytest.approx(expected)
