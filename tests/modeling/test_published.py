"""The benchmark's baseline computes the same mattes."""

import copy

import numpy as np
import pytest
import torch

from modeling import Predictor
from tests.modeling.inference.test_predictor import pair
from tests.modeling.small import small_mematte, small_vitmatte
from tools.reference.published import matte


@pytest.mark.parametrize("build", [small_mematte, small_vitmatte])
@pytest.mark.parametrize("cap", [None, 7])
def test_the_written_out_computation_gives_the_same_alpha(build, cap: int | None) -> None:
    model = build()
    image, trimap = pair(512, 512)  # a multiple of 512: the published tiles add nothing at the border
    baseline = matte(
        copy.deepcopy(model), torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(trimap)[None, None], cap
    )
    ours = Predictor(model, device="cpu", max_tokens=cap).predict(image, trimap)
    np.testing.assert_allclose(ours, baseline.numpy(), atol=1e-5)
