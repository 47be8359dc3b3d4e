"""Residual bottleneck with group norms, as AEMatter and CheapMatting use it."""

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.1


class Bottleneck(nn.Module):
    """(B, dim, H, W) -> same; the statistics of the group norms cover the whole map."""

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
