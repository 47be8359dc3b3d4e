"""The frame that AEMatter and CheapMatting share on large images."""

from collections.abc import Callable

from torch import Tensor

from ..base import MattingOutput
from ..onehot import OneHotNetwork, clamp_alpha, crop, mirrored_input, one_hot_trimap


def matte_padded(
    network: OneHotNetwork, image: Tensor, trimap: Tensor, raw_alpha: Callable[[Tensor], Tensor]
) -> MattingOutput:
    """Alpha of one image by `raw_alpha` of its padded input.

    Without unknown pixels it is 0, and nothing is computed.
    """
    unknown = one_hot_trimap(trimap)[:, 1:2]
    if not unknown.any():
        return MattingOutput(unknown)
    inputs, origin = mirrored_input(image, trimap, network.min_side_px)
    raw = crop(raw_alpha(inputs), origin, image.shape[-2:])
    return MattingOutput(clamp_alpha(raw.float(), training=False))


def padded_size(network: OneHotNetwork, height: int, width: int) -> tuple[int, int]:
    """Size of the padded input."""
    return tuple(max(side + -side % 32, network.min_side_px) for side in (height, width))
