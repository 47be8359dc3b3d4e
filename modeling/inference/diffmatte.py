"""DiffMatte and MEDiffMatte on large images: bounded encoder, tiled sampling steps."""

from typing import Any

from torch import Tensor

from ..base import MattingOutput
from ..diffmatte import DiffMatte
from ..diffusion import NamedNoise
from ..inputs import published_size, trimap_classes
from . import encoders
from .budget import ENCODED, Limits
from .diffusion_tiles import KEPT_TILES, TiledEstimate, constants_cost, decoding_cost


def matte(network: DiffMatte, image: Tensor, trimap: Tensor, limits: Limits, name: str = "") -> MattingOutput:
    """Sample one image with the noise of its name.

    See `executors.matte`.

    Tiles without unknown pixels take the values of the trimap.
    """
    classes = trimap_classes(trimap)
    encoding = encoders.encode(network.backbone, image, classes, limits)
    free_classes = [0] if network.published_foreground else [0, 2]
    estimate = TiledEstimate(network.decoder, encoding.features, image, classes, limits.tile_px, free_classes)
    steps = limits.watch(range(network.strategy.steps), ENCODED, 1)

    def watched(*arguments: Any) -> Tensor:
        next(steps)  # reports that the one before is done
        return estimate(*arguments)

    output = network.sample(watched, encoding, image, NamedNoise(name, network.seed))
    output.features = None
    return output


def memory_cost(network: DiffMatte, height: int, width: int, limits: Limits) -> int:
    """Upper estimate in bytes of what `matte` takes; see `executors.memory_cost`."""
    height, width = published_size(height, width)
    decoder = network.decoder
    rows, cols = height // decoder.feature_stride, width // decoder.feature_stride
    features = 4 * decoder.mid_blk.conv1.in_channels * rows * cols
    tile_px = min(limits.tile_px, height * width)
    kept = min((KEPT_TILES - 1) * tile_px, 2 * height * width)  # halos at most double what tiles hold together
    sampling = decoding_cost(decoder, tile_px) + constants_cost(decoder, kept) + 7 * 4 * height * width
    encoding = encoders.memory_cost(network.backbone, rows, cols, limits) + 9 * height * width
    return max(encoding, features + sampling)
