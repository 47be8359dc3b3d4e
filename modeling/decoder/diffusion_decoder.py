"""DiffMatte's decoder: a time-conditioned U-Net from noisy to clean mattes.

Only the noisy matte and the time change between sampling steps. `prepare` computes once what depends on neither,
`forward` does the rest of a step. Parameter names are those of the published checkpoints.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import Recomputing
from .blocks import MattingHead, double

TIME_DIM = 32


@dataclass
class Constants:
    """Contribution of one image (or tile) to every step.

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
        """Part before the time enters: resized main branch and shortcut."""
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
        """Contribution of some input channels to `branches`; all contributions sum to it."""
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
        return self.conv1(x), self.upsample.conv(double(x))


class DiffusionDecoder(Recomputing):
    """Clean matte in [-1, 1] from noisy matte, image, trimap and feature.

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
        """Compute the part that all steps share.

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
            skips.append(self.apply_part(block, skips[-1], time))

        hidden = self.mid_blk.join(constants.mid, time)
        for block in self.up_blks:
            hidden = self.apply_part(block, torch.cat([hidden, skips.pop()], dim=1), time)
        return 2 * self.apply_part(self.matting_head, hidden).float().sigmoid() - 1
