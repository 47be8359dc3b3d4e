"""Context from overlapping average pools of fixed size. Attribute names follow the published checkpoints."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNELS = (5, 13, 19, 25)


class PyramidPooling(nn.Module):
    """(B, in_chans, h, w) -> (B, out_chans, h, w); h and w must be at least 3."""

    def __init__(self, in_chans: int, hidden: int, out_chans: int):
        super().__init__()
        self.out = nn.Sequential(nn.Conv2d(in_chans + hidden * len(KERNELS), out_chans, 1))
        self.conv = nn.ModuleList(nn.Sequential(nn.Conv2d(in_chans, hidden, 1)) for _ in range(len(KERNELS) + 1))
        self.conv[-1].requires_grad_(False)  # published but used by nobody: it exists to be loaded

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for kernel, conv in zip(KERNELS, self.conv, strict=False):
            stride = kernel // 2
            pooled = F.avg_pool2d(x, kernel, stride, padding=stride - 1, count_include_pad=False)
            parts.append(F.interpolate(conv(pooled), size=x.shape[2:], mode="bilinear", align_corners=False))
        return self.out(torch.cat(parts, dim=1))
