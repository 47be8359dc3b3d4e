"""Network inputs: published padding, normalisation and trimap coding, for any window."""

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGE_MEAN = (123.675 / 255, 116.280 / 255, 103.530 / 255)
IMAGE_STD = (58.395 / 255, 57.120 / 255, 57.375 / 255)
UNKNOWN = 0.5  # of a training trimap, which is exactly 0, 0.5 or 1

Window = tuple[int, int, int, int]  # top, bottom, left, right in pixels


def published_size(height: int, width: int, multiple: int = 32) -> tuple[int, int]:
    """Published padded size: if either side needs padding, *both* sides grow."""
    if height % multiple == 0 and width % multiple == 0:
        return height, width
    return height + multiple - height % multiple, width + multiple - width % multiple


def whole_window(image: Tensor) -> Window:
    """The padded image."""
    height, width = published_size(*image.shape[-2:])
    return 0, height, 0, width


def unit_range(tensor: Tensor) -> Tensor:
    """uint8 -> float32 in [0, 1]; floats become float32."""
    return tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()


def normalise(image: Tensor) -> Tensor:
    """(B, 3, H, W) RGB in [0, 1] -> zero mean and unit variance over natural images."""
    mean = torch.tensor(IMAGE_MEAN, device=image.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGE_STD, device=image.device).view(1, 3, 1, 1)
    return (image - mean) / std


def pad_right_bottom(tensor: Tensor, height: int, width: int) -> Tensor:
    """Zero-pad (B, C, H, W) to (B, C, height, width)."""
    return F.pad(tensor, (0, width - tensor.shape[-1], 0, height - tensor.shape[-2]))


def model_input(image: Tensor, guide: Tensor, window: Window) -> Tensor:
    """Normalised image and guide of one window of the padded image.

    Args:
        image: (B, 3, H, W) uint8 or float in [0, 1], RGB.
        guide: (B, 1 or 2, H, W) uint8 or float in [0, 1]: the trimap, then the prior of networks with one; uint8 is
            divided by 255, so that unknown is 128/255.
        window: what lies beyond the image is 0 (mean colour, background).

    Returns:
        (B, 4 or 5, bottom - top, right - left) float32.
    """
    top, bottom, left, right = window
    image, guide = (unit_range(tensor[..., top:bottom, left:right]) for tensor in (image, guide))
    return pad_right_bottom(torch.cat([normalise(image), guide], dim=1), bottom - top, right - left)


def trimap_classes(trimap: Tensor) -> Tensor:
    """Classes (B, 1, H, W): 0 background, 1 unknown, 2 foreground.

    The trimap is uint8 or float in [0, 1], and is cut at 1/3 and 2/3.
    """
    full = 255 if trimap.dtype == torch.uint8 else 1
    return (trimap >= full / 3).to(torch.uint8) + (trimap >= full * 2 / 3)


def image_and_classes(image: Tensor, classes: Tensor, window: Window, *, centred: bool) -> Tensor:
    """Normalised image and one-hot trimap of one window of the padded image.

    Args:
        image: (B, 3, H, W) uint8 or float in [0, 1].
        classes: (B, 1, H, W) of `trimap_classes`.
        window: what lies beyond the image is 0 in all channels.
        centred: map every channel v to 2v - 1, the normalised image too, as the diffusion decoder expects it.

    Returns:
        (B, 6, bottom - top, right - left).
    """
    top, bottom, left, right = window
    image, classes = image[..., top:bottom, left:right], classes[..., top:bottom, left:right]
    image = image.float() / 255 if image.dtype == torch.uint8 else image
    one_hot = classes == torch.arange(3, device=classes.device).view(1, 3, 1, 1)  # (B, 3, H, W)
    channels = torch.cat([normalise(image), one_hot.to(image.dtype)], dim=1)
    return pad_right_bottom(2 * channels - 1 if centred else channels, bottom - top, right - left)


def training_trimap(trimap: Tensor) -> Tensor:
    """(B, 1, H, W) of 0..255 -> float of exactly 0, 0.5 and 1 (the published thresholds)."""
    trimap = trimap.float()
    return (trimap >= 85).float().add_(trimap >= 170).mul_(UNKNOWN)


def is_unknown(trimap: Tensor) -> Tensor:
    """Pixels of a uint8 trimap other than 0 and 255, as bool."""
    return (trimap != 0) & (trimap != 255)


def unknown_mask(trimap: Tensor) -> Tensor:
    """Unknown pixels of a training trimap as float32 of 0 and 1."""
    return (trimap == UNKNOWN).float()
