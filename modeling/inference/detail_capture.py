"""Detail-capture decoder on tiles of a larger image.

An output pixel depends on at most 31 input pixels and 2 feature cells beyond the multiple of 16 around it
(`tiles.HALO_CELLS` covers both), which is what makes tiles exact. Most of that reach belongs to the coarse scales: the
two cells at each cut edge that are wrong after a scale are dropped there, so that finer scales do not compute them.
"""

from torch import Tensor

from ..decoder.detail_capture import DetailCapture
from ..precision import compute_dtype

Edges = tuple[bool, bool, bool, bool]  # top, bottom, left, right
REACH = 2  # cells at a cut edge that doubling and a 3x3 convolution make wrong, at each scale


def decode_tile(decoder: DetailCapture, features: Tensor, inputs: Tensor, cut: Edges) -> Tensor:
    """Alpha of a tile from its features (B, C, h, w) and inputs (B, in_chans, 16h, 16w).

    `cut` says which edges are cut through the image: these lose their halo of 2 cells, or 32 pixels.
    """
    fused = features.to(compute_dtype(features))
    details = decoder.convstream(inputs.to(compute_dtype(inputs)))
    for scale in reversed(range(len(details))):
        # At every scale the coarse map has, doubled, a halo of 2 * REACH cells; the detail has that of the input.
        spare = (2 * REACH << len(details) - 1) >> scale
        detail = _without(details[scale], cut, spare - 2 * REACH)
        fused = _without(decoder.fusion_blks[len(details) - 1 - scale](fused, detail), cut, REACH)
    started = _without(inputs, cut, spare - REACH)  # the pixels of `fused`
    return _without(decoder.alpha(decoder.matting_head(fused), started), cut, REACH)


def memory_cost(decoder: DetailCapture, pixels: int) -> int:
    """Upper estimate in bytes for decoding that many pixels in float32.

    The widest moment is the last fusion: its coarse map, the doubled one, their concatenation and a copy of it in
    the layout of the convolution, beside the stream of details. Twice that, since over many tiles of different
    shapes the allocator holds back about as much again (measured on 29 megapixels).
    """
    last = decoder.fusion_blks[-1].conv.conv
    detail = sum(block.conv.out_channels / 4**scale for scale, block in enumerate(decoder.convstream.convs, 1))
    channels = 2 * (2.5 * last.in_channels + last.out_channels + detail)
    return int(4 * channels * pixels)


def _without(x: Tensor, edges: Edges, cells: int) -> Tensor:
    """`x` (B, C, H, W) without so many cells at the edges that are marked."""
    top, bottom, left, right = (cells if edge else 0 for edge in edges)
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]
