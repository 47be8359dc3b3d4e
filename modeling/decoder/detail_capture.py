"""Detail-capture decoder: a stream of image details fused, scale by scale, with the encoder's features."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..inference.precision import compute_dtype

Edges = tuple[bool, bool, bool, bool]  # top, bottom, left, right
NO_EDGE: Edges = (False, False, False, False)
LOGIT_MARGIN = 0.01  # alphas that a residual decoder starts from keep so far from 0 and 1
SPOILT = 2  # cells that doubling and a 3x3 convolution spoil at a cut edge, at each scale

# Attribute names (`convstream`, `fusion_blks`, `matting_head`, ...) are those of published checkpoints.


class ConvBlock(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, in_chans: int, out_chans: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_chans, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_chans)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _without(x: Tensor, edges: Edges, cells: int) -> Tensor:
    """`x` (B, C, H, W) without so many cells at the edges that are marked."""
    top, bottom, left, right = (cells if edge else 0 for edge in edges)
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class ConvStream(nn.Module):
    """Details of the 4-channel input at scales 1, 1/2, 1/4, 1/8."""

    def __init__(self, in_chans: int, out_chans: Sequence[int]) -> None:
        super().__init__()
        widths = [in_chans, *out_chans]
        self.convs = nn.ModuleList(ConvBlock(a, b, stride=2) for a, b in zip(widths, out_chans, strict=False))

    def forward(self, inputs: Tensor) -> list[Tensor]:
        details = [inputs]
        for conv in self.convs:
            details.append(conv(details[-1]))
        return details


class FusionBlock(nn.Module):
    """Doubles a coarse map and fuses it with the details of the finer scale."""

    def __init__(self, in_chans: int, out_chans: int) -> None:
        super().__init__()
        self.conv = ConvBlock(in_chans, out_chans)

    def forward(self, coarse: Tensor, detail: Tensor) -> Tensor:
        return self.conv(torch.cat([detail, _doubled(coarse)], dim=1))  # nothing holds the doubled map any longer


class MattingHead(nn.Module):
    """Full-resolution map to one logit."""

    def __init__(self, in_chans: int, mid_chans: int) -> None:
        super().__init__()
        self.matting_convs = nn.Sequential(
            nn.Conv2d(in_chans, mid_chans, 3, padding=1),
            nn.BatchNorm2d(mid_chans),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid_chans, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.matting_convs(x)


class DetailCapture(nn.Module):
    """Features at 1/16 and the padded 4-channel input to alpha.

    An output pixel depends on at most 31 input pixels and 2 feature cells beyond the multiple of 16 around it
    (`inference.tiles.HALO_CELLS` covers both), which is what makes tiles exact. Most of that reach is the coarse
    scales': what a cut edge spoils at each scale, two cells, is dropped there, so that finer scales do not compute it.

    Args:
        feature_chans: channels of the encoder.
        in_chans: channels of the input.
        stream_chans: widths of the detail stream at scales 1/2, 1/4, 1/8.
        fusion_chans: widths of the fusion blocks at scales 1/8, 1/4, 1/2, 1.
        head_chans: hidden width of the head.
        residual: the last channel of the input is an alpha, and the head predicts how much its logit changes;
            published decoders predict the logit itself. The untrained decoder returns that alpha.
    """

    def __init__(
        self,
        feature_chans: int = 384,
        in_chans: int = 4,
        stream_chans: Sequence[int] = (48, 96, 192),
        fusion_chans: Sequence[int] = (256, 128, 64, 32),
        head_chans: int = 16,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.residual = residual
        if len(fusion_chans) != len(stream_chans) + 1:
            raise ValueError(f"fusion_chans {fusion_chans} must have one entry more than stream_chans {stream_chans}")
        self.convstream = ConvStream(in_chans, stream_chans)
        details = [in_chans, *stream_chans][::-1]
        coarse = [feature_chans, *fusion_chans]
        self.fusion_blks = nn.ModuleList(
            FusionBlock(detail + below, out) for detail, below, out in zip(details, coarse, fusion_chans, strict=False)
        )
        self.matting_head = MattingHead(fusion_chans[-1], head_chans)
        if residual:
            nn.init.zeros_(self.matting_head.matting_convs[-1].weight)
            nn.init.zeros_(self.matting_head.matting_convs[-1].bias)

    def memory_cost(self, pixels: int) -> int:
        """Upper estimate in bytes of what decoding so many pixels takes in float32.

        The widest moment is the last fusion: its coarse map, the doubled one, their concatenation and a copy of it in
        the layout of the convolution, beside the stream of details. Twice that, since over many tiles of different
        shapes the allocator holds back about as much again (measured on 29 megapixels).
        """
        last = self.fusion_blks[-1].conv.conv
        detail = sum(block.conv.out_channels / 4**scale for scale, block in enumerate(self.convstream.convs, 1))
        channels = 2 * (2.5 * last.in_channels + last.out_channels + detail)
        return int(4 * channels * pixels)

    def forward(self, features: Tensor, inputs: Tensor, cut: Edges = NO_EDGE) -> Tensor:
        """Alpha (B, 1, H, W) from (B, C, h, w) and (B, in_chans, 16h, 16w).

        `cut` says which edges (top, bottom, left, right) are cut through the image: these lose their halo of 2 cells,
        or 32 pixels. Without any, H = 16h and W = 16w.
        """
        inputs, fused = inputs.to(compute_dtype(inputs)), features.to(compute_dtype(features))
        details = self.convstream(inputs)
        for scale in reversed(range(len(details))):
            # At every scale the coarse map has, doubled, a halo of 2 * SPOILT cells; the detail has that of the input.
            spare = (2 * SPOILT << len(details) - 1) >> scale
            detail = _without(details[scale], cut, spare - 2 * SPOILT)
            fused = _without(self.fusion_blks[len(details) - 1 - scale](fused, detail), cut, SPOILT)
        logit = self.matting_head(fused).float()
        if self.residual:
            logit = logit + _without(detail[:, -1:], cut, SPOILT).float().logit(LOGIT_MARGIN)
        return _without(logit.sigmoid(), cut, SPOILT)
