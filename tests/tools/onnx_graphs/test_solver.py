"""The closed-form solver as a graph equals that of torch."""

import numpy as np
import onnxruntime
import pytest
import torch

from modeling.closed_form.solver import closed_form
from tests.modeling.test_closed_form import scene

TOLERANCE = 2e-3  # the system is ill-conditioned: sums in another order move torch's own result by as much


def solved(solver: onnxruntime.InferenceSession, image: torch.Tensor, trimap: torch.Tensor) -> np.ndarray:
    return solver.run(None, {"image": image.numpy(), "trimap": trimap.float().numpy()})[0]


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (2, 2), (3, 3), (17, 2), (200, 9), (40, 52), (67, 131)])
def test_any_size(solver: onnxruntime.InferenceSession, size: tuple[int, int]) -> None:
    image, trimap, _ = scene(*size)
    np.testing.assert_allclose(solved(solver, image, trimap), closed_form(image, trimap), atol=TOLERANCE)


def test_holes_and_windows_of_two_colours(solver: onnxruntime.InferenceSession) -> None:
    """Colour samples decide in the hole.

    float32 cannot hold the covariance of two flat colours.
    """
    y, x = torch.meshgrid(torch.arange(48), torch.arange(64), indexing="ij")
    alpha = (x > 16).float()
    alpha[18:30, 30:44] = 0
    image = (alpha * torch.tensor([0.8, 0.5, 0.3])[:, None, None] + (1 - alpha) * 0.2)[None]
    trimap = torch.where((x < 8) | (y > 44) & (x < 16), 0, torch.where((y > 44) & (x > 18), 1, 0.5))[None, None]
    found = solved(solver, image, trimap)
    np.testing.assert_allclose(found, closed_form(image, trimap), atol=TOLERANCE)
    assert np.abs(found[0, 0] - alpha.numpy())[18:30, 30:44].mean() < 0.1


@pytest.mark.parametrize("level", [0, 0.5, 1])
def test_without_one_kind_of_known_pixels_the_rest_is_undecided(
    solver: onnxruntime.InferenceSession, level: float
) -> None:
    image, trimap, _ = scene(24, 32)
    trimap = torch.where(trimap == 0.5, trimap, level)
    assert np.array_equal(solved(solver, image, trimap), trimap)
