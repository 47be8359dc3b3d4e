"""Prior without torch equals torch's, for pictures of any size."""

import numpy as np
import onnxruntime
import pytest
import torch

from modeling import prior as torch_side
from modeling import resizing
from tests.modeling.test_prior import levels
from tools.onnx_graphs.prior import closed_form_prior, enlarge, reduce


def arrays(height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:
    """A picture and its trimap, as tensors and as arrays."""
    image, trimap = levels(height, width, seed)
    return image, trimap, image[0].permute(1, 2, 0).numpy(), trimap[0, 0].numpy()


@pytest.mark.parametrize("size, smaller", [((53, 71), (20, 27)), ((64, 40), (16, 10)), ((9, 300), (1, 33))])
def test_reducing_is_that_of_torch(size: tuple[int, int], smaller: tuple[int, int]) -> None:
    image, trimap, *own = arrays(*size)
    expected, expected_levels = resizing.reduce(image, trimap, *smaller)
    found, found_levels = reduce(*own, *smaller)
    assert np.array_equal(found, expected[0].permute(1, 2, 0))
    assert np.array_equal(found_levels, expected_levels[0, 0])


def test_enlarging_is_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    image, trimap, *own = arrays(151, 210)
    small, _ = resizing.reduce(image, trimap, 40, 55)
    alpha = torch.rand(1, 1, 40, 55, generator=torch.Generator().manual_seed(0))
    expected = resizing.enlarge(alpha, small, image, trimap)[0, 0]
    monkeypatch.setattr("tools.onnx_graphs.prior.TILE_PX", 64)
    found = enlarge(alpha[0, 0].numpy(), small[0].permute(1, 2, 0).numpy(), *own)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("size", [(150, 201), (61, 90), (1, 1)])
def test_the_prior_is_that_of_torch(
    solver: onnxruntime.InferenceSession, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_side, "PRIOR_PX", 9000)
    image, trimap, *own = arrays(*size)
    expected = torch_side.closed_form_prior(image, trimap)[0, 0].numpy()
    found = closed_form_prior(solver, *own, most_px=9000)
    difference = np.abs(found.astype(int) - expected)
    assert found.dtype == np.uint8 and (difference <= 1).mean() > 0.999 and difference.max() <= 3
    assert np.array_equal(found[own[1] != 128], own[1][own[1] != 128])


def test_the_solver_sees_no_more_pixels_than_stated(solver: onnxruntime.InferenceSession) -> None:
    seen = []

    class Spy:
        def run(self, names: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            seen.append(feed["trimap"].size)
            return solver.run(names, feed)

    _, _, image, trimap = arrays(150, 200)
    closed_form_prior(Spy(), image, trimap, most_px=2000)
    assert len(seen) == 1 and seen[0] <= 2000
    known = np.where(trimap == 128, 255, trimap).astype(np.uint8)
    assert np.array_equal(closed_form_prior(Spy(), image, known, most_px=2000), known) and len(seen) == 1
