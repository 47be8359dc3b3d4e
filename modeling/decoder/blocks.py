"""Parts that several decoders share. Attribute names follow the published checkpoints."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.1
KERNELS = (5, 13, 19, 25)


def double(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H, 2W), bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class ConvBlock(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, in_chans: int, out_chans: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_chans, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_chans)

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.conv(x))

    def activate(self, convolved: Tensor) -> Tensor:
        """Batch norm and ReLU."""
        return F.relu(self.bn(convolved), inplace=True)


class MattingHead(nn.Module):
    """Full-resolution map to logits."""

    def __init__(self, in_chans: int, mid_chans: int, logits: int = 1) -> None:
        super().__init__()
        self.matting_convs = nn.Sequential(
            nn.Conv2d(in_chans, mid_chans, 3, padding=1),
            nn.BatchNorm2d(mid_chans),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid_chans, logits, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.matting_convs(x)


class Bottleneck(nn.Module):
    """Residual unit (B, dim, H, W) with group norms over the whole map."""

    def __init__(self, dim: int, hidden: int, groups: int):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, hidden, 1)
        self.gn1 = nn.GroupNorm(groups, hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.gn2 = nn.GroupNorm(groups, hidden)
        self.conv3 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.leaky_relu(self.gn1(self.conv1(x)), SLOPE)
        hidden = F.leaky_relu(self.gn2(self.conv2(hidden)), SLOPE)
        return F.leaky_relu(x + self.conv3(hidden), SLOPE)


class PyramidPooling(nn.Module):
    """Context from overlapping average pools of fixed size.

    (B, in_chans, h, w) -> (B, out_chans, h, w); h and w must be at least 3.
    """

    def __init__(self, in_chans: int, hidden: int, out_chans: int):
        super().__init__()
        self.out = nn.Sequential(nn.Conv2d(in_chans + hidden * len(KERNELS), out_chans, 1))
        self.conv = nn.ModuleList(nn.Sequential(nn.Conv2d(in_chans, hidden, 1)) for _ in range(len(KERNELS) + 1))
        self.conv[-1].requires_grad_(False)  # published but unused: kept so that checkpoints load

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for kernel, conv in zip(KERNELS, self.conv, strict=False):
            stride = kernel // 2
            pooled = F.avg_pool2d(x, kernel, stride, padding=stride - 1, count_include_pad=False)
            parts.append(F.interpolate(conv(pooled), size=x.shape[2:], mode="bilinear", align_corners=False))
        return self.out(torch.cat(parts, dim=1))
