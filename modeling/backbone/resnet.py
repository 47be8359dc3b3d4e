"""ResNet-34-D with spectrally normalised convolutions, the lightest encoder of DiffMatte.

Parameter names are those of the published checkpoints: each convolution stores `weight_bar` and the two singular
vectors `weight_u` and `weight_v` in a child called `module`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import Encoder, Encoding


class _SpectralWeight(nn.Module):
    """A convolution weight divided by an estimate of its largest singular value."""

    def __init__(self, in_channels: int, out_channels: int, size: int) -> None:
        super().__init__()
        # The vectors are parameters, not buffers, because published checkpoints count them as such.
        self.weight_u = nn.Parameter(F.normalize(torch.randn(out_channels), dim=0), requires_grad=False)
        self.weight_v = nn.Parameter(F.normalize(torch.randn(in_channels * size * size), dim=0), requires_grad=False)
        self.weight_bar = nn.Parameter(torch.empty(out_channels, in_channels, size, size))
        nn.init.xavier_uniform_(self.weight_bar)

    @torch.no_grad()
    def iterate(self) -> None:
        """One power iteration towards the leading singular vectors."""
        matrix = self.weight_bar.flatten(1)
        self.weight_v.copy_(_unit(matrix.T @ self.weight_u))
        self.weight_u.copy_(_unit(matrix @ self.weight_v))

    def forward(self) -> Tensor:
        if self.training:
            self.iterate()
        # Copies, because the next iteration edits the vectors while the graph may still need these.
        u, v = self.weight_u.clone(), self.weight_v.clone()
        return self.weight_bar / (u @ (self.weight_bar.flatten(1) @ v))


def _unit(vector: Tensor) -> Tensor:
    return vector / (vector.norm() + 1e-12)


class SpectralConv2d(nn.Module):
    """Convolution without bias, "same" padding, (B, in, H, W) -> (B, out, H / stride, W / stride)."""

    def __init__(self, in_channels: int, out_channels: int, size: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.module = _SpectralWeight(in_channels, out_channels, size)
        self.stride = stride
        self.padding = size // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.module(), stride=self.stride, padding=self.padding)


class BasicBlock(nn.Module):
    """Two convolutions with a shortcut.

    A block that halves the resolution averages in the shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = SpectralConv2d(in_channels, out_channels, stride=stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = SpectralConv2d(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(2, stride),
                SpectralConv2d(in_channels, out_channels, size=1),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet34D(Encoder):
    """(B, in_channels, H, W) -> (B, 512, H / 32, W / 32); H and W are multiples of 32."""

    def __init__(self, in_channels: int = 6, depths: Sequence[int] = (3, 4, 4, 2)) -> None:
        super().__init__()
        self.conv1 = SpectralConv2d(in_channels, 32, stride=2)
        self.conv2 = SpectralConv2d(32, 32)
        self.conv3 = SpectralConv2d(32, 64, stride=2)
        self.bn1 = nn.BatchNorm2d(32)
        self.bn2 = nn.BatchNorm2d(32)
        self.bn3 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, depths[0], stride=1)
        self.layer2 = _stage(64, 128, depths[1], stride=2)
        self.layer3 = _stage(128, 256, depths[2], stride=2)
        self.layer_bottleneck = _stage(256, 512, depths[3], stride=2)

    def forward(self, x: Tensor) -> Encoding:
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(norm(conv(x)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer_bottleneck):
            x = stage(x)
        return Encoding(x.permute(0, 2, 3, 1))


def _stage(in_channels: int, out_channels: int, depth: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride)
    return nn.Sequential(first, *(BasicBlock(out_channels, out_channels, 1) for _ in range(depth - 1)))
