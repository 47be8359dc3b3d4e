"""Test-time augmentation: the mean over four rotations and their mirror images."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Predict = Callable[[Tensor, Tensor], Tensor]  # image (B, 3, H, W), trimap (B, 1, H, W) -> alpha (B, 1, H, W)


def views(tensor: Tensor) -> Iterator[Tensor]:
    """The eight views of (..., H, W): four rotations, plain and mirrored.

    Rotations are counter-clockwise.
    """
    for turns in range(4):
        turned = torch.rot90(tensor, turns, (-2, -1))
        yield turned
        yield turned.flip(-1)


def undo_view(tensor: Tensor, index: int) -> Tensor:
    """Map a result of view number `index` back to the original orientation."""
    turns, mirrored = divmod(index, 2)
    return torch.rot90(tensor.flip(-1) if mirrored else tensor, -turns, (-2, -1))


def predict_views(predict: Predict, image: Tensor, trimap: Tensor) -> Tensor:
    """Average `predict` over eight views.

    Args:
        predict: the whole prediction of one view, padding and known regions included.
        image: (B, 3, H, W).
        trimap: (B, 1, H, W).

    Returns:
        (B, 1, H, W) in [0, 1].
    """
    total = torch.zeros_like(trimap, dtype=torch.float32)
    for index, (image_view, trimap_view) in enumerate(zip(views(image), views(trimap), strict=True)):
        total += undo_view(predict(image_view, trimap_view).float(), index)
    return total / 8
