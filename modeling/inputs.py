"""Padding rules of the published networks, and the model input of any window of a padded image."""

import torch
from torch import Tensor

IMAGE_MEAN = (123.675 / 255, 116.280 / 255, 103.530 / 255)
IMAGE_STD = (58.395 / 255, 57.120 / 255, 57.375 / 255)


def published_size(height: int, width: int, multiple: int = 32) -> tuple[int, int]:
    """Padded size by the published rule: if either side needs padding, *both* grow to their next larger multiple."""
    if height % multiple == 0 and width % multiple == 0:
        return height, width
    return height + multiple - height % multiple, width + multiple - width % multiple


def normalise(image: Tensor) -> Tensor:
    """(B, 3, H, W) RGB in [0, 1] -> zero mean and unit variance over natural images."""
    mean = torch.tensor(IMAGE_MEAN, device=image.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGE_STD, device=image.device).view(1, 3, 1, 1)
    return (image - mean) / std


def pad_right_bottom(tensor: Tensor, height: int, width: int) -> Tensor:
    """Zero-pad (B, C, H, W) to (B, C, height, width)."""
    return torch.nn.functional.pad(tensor, (0, width - tensor.shape[-1], 0, height - tensor.shape[-2]))


def model_input(image: Tensor, guide: Tensor, window: tuple[int, int, int, int]) -> Tensor:
    """Normalised image and guide of one window of the padded image.

    Args:
        image: (B, 3, H, W) uint8 or float in [0, 1], RGB.
        guide: (B, 1 or 2, H, W) uint8 or float in [0, 1]: the trimap, then the prior of networks with one; uint8 is
            divided by 255, so that unknown is 128/255.
        window: top, bottom, left, right in pixels; what lies beyond the image is 0 (mean colour, background).

    Returns:
        (B, 4 or 5, bottom - top, right - left) float32.
    """
    top, bottom, left, right = window
    parts = []
    for tensor in (image, guide):
        part = tensor[..., top:bottom, left:right]
        parts.append(part.float() / 255 if part.dtype == torch.uint8 else part.float())
    inputs = torch.cat([normalise(parts[0]), parts[1]], dim=1)
    return pad_right_bottom(inputs, bottom - top, right - left)
