"""Mirror padding against NumPy, and the trimap coding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling.onehot import clamp_alpha, crop, one_hot_trimap, pad_symmetric


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([0, 96]))
def test_padding_is_numpys_symmetric(height: int, width: int, minimum: int):
    array = np.arange(height * width).reshape(height, width)
    padded, origin = pad_symmetric(torch.from_numpy(array), 32, minimum)
    totals = [max(-(-n // 32) * 32, minimum) - n for n in (height, width)]
    expected = np.pad(array, [(total // 2, total - total // 2) for total in totals], mode="symmetric")
    assert np.array_equal(padded.numpy(), expected)
    assert np.array_equal(crop(padded, origin, (height, width)).numpy(), array)


@pytest.mark.parametrize("scale", [1, 255])
def test_each_pixel_has_exactly_one_code(scale: int):
    levels = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    code = one_hot_trimap(levels if scale == 1 else levels.float() / scale)
    assert torch.equal(code[0, :, 0], torch.eye(3))


def test_clamping_in_training_keeps_values_and_gradient():
    raw = torch.tensor([-2.0, 0.5, 3.0], requires_grad=True)
    alpha = clamp_alpha(raw, training=True)
    assert alpha.tolist() == [0, 0.5, 1]
    alpha.sum().backward()
    assert raw.grad.tolist() == [1, 1, 1]
