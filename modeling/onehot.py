"""Frame of networks with one-hot trimaps: coding and symmetric padding."""

import torch
from torch import Tensor

from .base import MattingNetwork, MattingOutput
from .inputs import unit_range

PLAIN_UNKNOWN = (0.25, 0.75)  # between these a trimap value, divided by 255, means unknown


class OneHotNetwork(MattingNetwork):
    """Frame of AEMatter and CheapMatting: mirror padding, one-hot trimap, clamped alpha.

    Attributes:
        min_side_px: smallest padded side in pixels.
    """

    min_side_px: int = 32

    def forward(self, image: Tensor, trimap: Tensor) -> MattingOutput:
        """Whole-image pass.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
            trimap: (B, 1, H, W) in [0, 1]; known regions are not enforced on the result.
        """
        inputs, origin = mirrored_input(image, trimap, self.min_side_px)
        raw = crop(self.raw_alpha(inputs), origin, image.shape[-2:])
        return MattingOutput(clamp_alpha(raw, self.training))

    def raw_alpha(self, inputs: Tensor) -> Tensor:
        """Unclamped alpha (B, 1, H, W) of a padded input.

        Args:
            inputs: (B, 6, H, W): RGB and one-hot trimap; sides are multiples of 32 and at least `min_side_px`.
        """
        raise NotImplementedError


def symmetric_index(length: int, before: int, after: int, device: torch.device | None = None) -> Tensor:
    """Source positions of a mirrored axis with repeated edges, for any padding.

    For example dcba|abcd|dcba.
    """
    position = torch.arange(-before, length + after, device=device) % (2 * length)
    return torch.minimum(position, 2 * length - 1 - position)


def pad_symmetric(tensor: Tensor, multiple: int = 32, minimum: int = 0) -> tuple[Tensor, tuple[int, int]]:
    """Mirror-pad both axes to the next multiple, half of it before.

    An odd half is rounded down.

    Args:
        tensor: (..., H, W).
        multiple: the padded sides are multiples of this,
        minimum: and at least this, itself a multiple of `multiple`.

    Returns:
        The padded tensor, and (top, left) of the original in it.
    """
    origin = []
    for dim in (-2, -1):
        length = tensor.shape[dim]
        total = max(length + -length % multiple, minimum) - length
        origin.append(total // 2)
        if total:
            tensor = tensor.index_select(dim, symmetric_index(length, total // 2, total - total // 2, tensor.device))
    return tensor, (origin[0], origin[1])


def one_hot_trimap(trimap: Tensor) -> Tensor:
    """(B, 1, H, W), uint8 or float in [0, 1], -> (B, 3, H, W) float32 of background, unknown, foreground."""
    trimap = unit_range(trimap)
    background, foreground = trimap < PLAIN_UNKNOWN[0], trimap > PLAIN_UNKNOWN[1]
    return torch.cat([background, ~(background | foreground), foreground], dim=1).float()


def mirrored_input(image: Tensor, trimap: Tensor, minimum: int = 32) -> tuple[Tensor, tuple[int, int]]:
    """Padded network input of an image and its trimap.

    Args:
        image: (B, 3, H, W) RGB, uint8 or float in [0, 1].
        trimap: (B, 1, H, W), uint8 or float in [0, 1].
        minimum: smallest padded side in pixels.

    Returns:
        (B, 6, H', W') float32: RGB, background, unknown, foreground; and (top, left) of the image in it.
    """
    image, origin = pad_symmetric(image, minimum=minimum)
    trimap, _ = pad_symmetric(trimap, minimum=minimum)
    return torch.cat([unit_range(image), one_hot_trimap(trimap)], dim=1), origin


def crop(padded: Tensor, origin: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Undo the padding: (..., H', W') -> (..., H, W)."""
    (top, left), (height, width) = origin, size
    return padded[..., top : top + height, left : left + width]


def clamp_alpha(raw: Tensor, training: bool) -> Tensor:
    """Clamp to [0, 1], passing all gradients in training.

    Predictions outside the range can then come back.
    """
    clamped = raw.clamp(0, 1)
    return raw + (clamped - raw).detach() if training else clamped
