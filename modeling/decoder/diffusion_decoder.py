"""DiffMatte's decoder: a small time-conditioned U-shaped net that estimates a clean matte from a noisy one.

Only the noisy matte and the time change between sampling steps. `prepare` computes once what depends on neither,
`forward` does the rest of a step. Parameter names are those of the published checkpoints.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .detail_capture import MattingHead

TIME_DIM = 32


@dataclass
class Constants:
    """What one image (or tile) contributes to every step.

    Attributes:
        first: image and trimap part of the first down block's convolution and shortcut, (B, c, H / 2, W / 2) each.
        mid: convolution and shortcut of the block on the encoder feature, (B, C, 2h, 2w) each.
    """

    first: tuple[Tensor, Tensor]
    mid: tuple[Tensor, Tensor]


def encode_time(t: Tensor) -> Tensor:
    """(B,) in [0, 1] -> (B, 32): cosines, then sines, of 16 geometric frequencies."""
    half = TIME_DIM // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class _Block(nn.Module):
    """Residual block that changes the resolution by two; subclasses say how."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.emb_layers = nn.Sequential(nn.Linear(TIME_DIM, out_channels), nn.ReLU())

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The part before the time enters: resized main branch and shortcut."""
        raise NotImplementedError

    def join(self, branches: tuple[Tensor, Tensor], time: Tensor) -> Tensor:
        main, shortcut = branches
        main = F.relu(self.bn1(main)) + self.emb_layers(time)[:, :, None, None]
        return F.relu(self.bn2(self.conv2(main)) + shortcut)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.join(self.branches(x), time)


class DownBlock(_Block):
    """(B, a, H, W) -> (B, c, H / 2, W / 2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(out_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Module()
        self.downsample.op = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv1(x), self.downsample.op(x)

    def partial_branches(self, x: Tensor, channels: slice) -> tuple[Tensor, Tensor]:
        """What some of the input channels contribute to `branches`; contributions of all channels add up to it."""
        convs = (self.conv1, self.downsample.op)
        main, shortcut = (F.conv2d(x, conv.weight[:, channels], stride=2, padding=1) for conv in convs)
        return main, shortcut


class UpBlock(_Block):
    """(B, a, H, W) -> (B, c, 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(out_channels)
        self.conv1 = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.upsample = nn.Module()
        self.upsample.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        larger = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.conv1(x), self.upsample.conv(larger)


class Reach(NamedTuple):
    """How far, in pixels of the image, an output pixel depends on the two inputs of the decoder."""

    image_px: int
    feature_px: int


class DiffusionDecoder(nn.Module):
    """Noisy matte, image and trimap at full resolution plus one encoder feature -> clean matte in [-1, 1].

    Args:
        down_channels: widths of the down path, the input's first. One block fewer than entries.
        up_channels: widths of the up path, the feature's first; the feature has half the scale of the last down block.
        head_channels: hidden width of the head.
    """

    def __init__(
        self,
        down_channels: Sequence[int] = (7, 32, 64, 128),
        up_channels: Sequence[int] = (384, 256, 128, 64, 32),
        head_channels: int = 16,
    ) -> None:
        super().__init__()
        if len(up_channels) != len(down_channels) + 1:
            raise ValueError(
                f"up_channels {list(up_channels)} must have one entry more than down_channels {list(down_channels)}"
            )
        depth = len(down_channels) - 1
        self.feature_stride = 2 ** (depth + 1)
        self.down_blks = nn.ModuleList(DownBlock(down_channels[i], down_channels[i + 1]) for i in range(depth))
        self.time_embed = nn.Sequential(nn.Linear(TIME_DIM, TIME_DIM), nn.ReLU(), nn.Linear(TIME_DIM, TIME_DIM))
        self.mid_blk = UpBlock(up_channels[0], up_channels[1])
        self.up_blks = nn.ModuleList(
            UpBlock(up_channels[j + 1] + down_channels[depth - j], up_channels[j + 2]) for j in range(depth)
        )
        self.matting_head = MattingHead(up_channels[-1], head_channels)

    def prepare(self, feature: Tensor, condition: Tensor) -> Constants:
        """Compute what all steps share.

        Args:
            feature: (B, C, H / stride, W / stride) from the encoder.
            condition: (B, 6, H, W), image and trimap classes.
        """
        channels = slice(0, condition.shape[1])
        return Constants(self.down_blks[0].partial_branches(condition, channels), self.mid_blk.branches(feature))

    def forward(self, constants: Constants, x: Tensor, t: Tensor) -> Tensor:
        """Estimate the clean matte.

        Args:
            constants: of `prepare`.
            x: (B, 1, H, W) normalised noisy matte.
            t: (B,) its time.

        Returns:
            (B, 1, H, W) in [-1, 1].
        """
        time = self.time_embed(encode_time(t).to(x.dtype))  # (B, 32)
        from_x = self.down_blks[0].partial_branches(x, slice(-1, None))
        main, shortcut = (constant + own for constant, own in zip(constants.first, from_x, strict=True))
        skips = [self.down_blks[0].join((main, shortcut), time)]
        for block in self.down_blks[1:]:
            skips.append(block(skips[-1], time))

        hidden = self.mid_blk.join(constants.mid, time)
        for block in self.up_blks:
            hidden = block(torch.cat([hidden, skips.pop()], dim=1), time)
        return 2 * self.matting_head(hidden).float().sigmoid() - 1

    def memory_cost(self, pixels: int) -> int:
        """Upper estimate in bytes of what decoding so many pixels takes in float32, `Constants` included.

        The widest moment is the last up block: its input, the doubled one, copies of it in the layouts of the
        convolutions, both branches, beside the skip connections. The factors were measured on a CPU.
        """
        last = self.up_blks[-1].upsample.conv
        skips = sum(block.conv1.out_channels / 4**scale for scale, block in enumerate(self.down_blks, 1))
        channels = 5 * last.in_channels + 6 * last.out_channels + 2 * skips
        return int(4 * channels * pixels) + self.constants_cost(pixels)

    def constants_cost(self, pixels: int) -> int:
        """Bytes of the `Constants` of so many pixels in float32."""
        middle = self.mid_blk.conv1.out_channels / (self.feature_stride // 2) ** 2
        return int(8 * (self.down_blks[0].conv1.out_channels / 4 + middle) * pixels)

    def reach(self) -> Reach:
        """Interval arithmetic through the layers: the halo with which a tile's core equals the whole image."""
        period = self.feature_stride
        spans = [self._dependence(pixel) for pixel in range(period)]
        image = max(max(pixel - low, high - pixel) for pixel, ((low, high), _) in enumerate(spans))
        # A feature cell stands for `stride` pixels, and all of them have to be inside the tile.
        feature = max(
            max(pixel - low * period, (high + 1) * period - 1 - pixel) for pixel, (_, (low, high)) in enumerate(spans)
        )
        return Reach(image, feature)

    def _dependence(self, pixel: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Input pixels and feature cells that an output pixel depends on, each as (first, last)."""
        hull = _widen((pixel, pixel), 1)  # the head's convolution
        image = hull
        for level in range(1, len(self.up_blks) + 1):
            hull = _before_up(hull)
            skip = hull
            for _ in range(level):
                skip = _before_down(skip)
            image = (min(image[0], skip[0]), max(image[1], skip[1]))
        return image, _before_up(hull)


def _widen(span: tuple[int, int], by: int) -> tuple[int, int]:
    return span[0] - by, span[1] + by


def _before_down(span: tuple[int, int]) -> tuple[int, int]:
    low, high = _widen(span, 1)  # conv2; conv1 and the shortcut read 2p - 1 to 2p + 1
    return 2 * low - 1, 2 * high + 1


def _before_up(span: tuple[int, int]) -> tuple[int, int]:
    # conv2, or the convolution after interpolation; then interpolation and transposed convolution both read
    # floor((p - 1) / 2) to floor((p + 1) / 2).
    low, high = _widen(span, 1)
    return (low - 1) // 2, (high + 1) // 2
