"""Views and their inverses; the mean over views."""

import numpy as np
import torch

from modeling.inference.tta import predict_views, undo_view, views


def test_every_view_can_be_undone_and_differs():
    image = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)
    seen = list(views(image))
    assert len({tuple(view.flatten().tolist()) for view in seen}) == 8
    for index, view in enumerate(seen):
        assert torch.equal(undo_view(view, index), image)


def test_first_rotation_is_counter_clockwise():
    plane = np.arange(6).reshape(2, 3)
    assert np.array_equal(list(views(torch.from_numpy(plane)))[2].numpy(), np.rot90(plane))


def test_mean_of_an_equivariant_prediction_is_the_prediction():
    image = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    alpha = predict_views(lambda image, _: image[:, :1] ** 2, image, image[:, :1])
    torch.testing.assert_close(alpha, image[:, :1] ** 2)


def test_mean_of_an_orientation_dependent_prediction():
    def left_half(image: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        alpha = torch.zeros_like(image[:, :1])
        alpha[..., : image.shape[-1] // 2] = 1
        return alpha

    image = torch.zeros(1, 3, 4, 4)
    torch.testing.assert_close(predict_views(left_half, image, image[:, :1]), torch.full((1, 1, 4, 4), 0.5))
