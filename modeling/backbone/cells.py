"""Searched cells of CheapMatting's encoder: their operators as data, and their class.

Attribute names follow the published checkpoints.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Edge(NamedTuple):
    """Operator and the node that it reads.

    Nodes 0 and 1 are the cell's inputs (older, newer), 2 to 5 its inner nodes.
    """

    operator: str
    source: int


# Two edges make a node (2, 3, 4, 5 in this order); the cell's output concatenates the four nodes.
NORMAL = (
    (Edge("identity", 0), Edge("dilated5", 1)),
    (Edge("dilated3", 0), Edge("separable3", 1)),
    (Edge("separable5", 1), Edge("separable5", 3)),
    (Edge("separable3", 3), Edge("dilated3", 4)),
)
# Edges that leave the cell's inputs halve the resolution.
REDUCTION = (
    (Edge("halve", 0), Edge("separable3", 1)),
    (Edge("separable3", 0), Edge("dilated5", 2)),
    (Edge("separable3", 0), Edge("dilated5", 3)),
    (Edge("separable5", 3), Edge("dilated5", 4)),
)
NODES = 4


class Chain(nn.Module):
    """Operator whose layers are published under `op`."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.op = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Halve(nn.Module):
    """Sample the even and the odd grid positions by two pointwise convolutions: (B, C, H, W) -> (B, C', H/2, W/2)."""

    def __init__(self, in_chans: int, out_chans: int):
        super().__init__()
        self.conv_1 = nn.Conv2d(in_chans, out_chans // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(in_chans, out_chans // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(out_chans)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], dim=1))


def pointwise(in_chans: int, out_chans: int) -> Chain:
    """ReLU, pointwise convolution, batch norm."""
    return Chain(nn.ReLU(), nn.Conv2d(in_chans, out_chans, 1, bias=False), nn.BatchNorm2d(out_chans))


def depthwise(chans: int, kernel: int, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    """ReLU, depthwise and pointwise convolution, batch norm.

    Only the stride changes the size.
    """
    padding = dilation * (kernel - 1) // 2
    return [
        nn.ReLU(),
        nn.Conv2d(chans, chans, kernel, stride, padding, dilation, groups=chans, bias=False),
        nn.Conv2d(chans, chans, 1, bias=False),
        nn.BatchNorm2d(chans),
    ]


def operator(name: str, chans: int, stride: int) -> nn.Module:
    """Build the operator called `name` in a genotype."""
    if name == "identity":
        return nn.Identity()
    if name == "halve":
        return Halve(chans, chans)
    kind, kernel = name[:-1], int(name[-1])
    if kind == "separable":
        return Chain(*depthwise(chans, kernel, stride), *depthwise(chans, kernel))
    if kind == "dilated":
        return Chain(*depthwise(chans, kernel, stride, dilation=2))
    raise ValueError(f"unknown operator {name!r} in a genotype: use identity, halve, separable<k> or dilated<k>")


class Cell(nn.Module):
    """A searched cell of two inputs; its output has NODES * dim channels.

    Args:
        older_dim, newer_dim: channels of the inputs.
        dim: channels of every node.
        reduction: whether the cell halves the resolution.
        older_is_larger: whether the older input has twice the resolution of the newer.
    """

    def __init__(self, older_dim: int, newer_dim: int, dim: int, reduction: bool, older_is_larger: bool):
        super().__init__()
        self.preprocess0 = Halve(older_dim, dim) if older_is_larger else pointwise(older_dim, dim)
        self.preprocess1 = pointwise(newer_dim, dim)
        genotype = REDUCTION if reduction else NORMAL
        self.sources = [edge.source for node in genotype for edge in node]
        self._ops = nn.ModuleList(
            operator(edge.operator, dim, stride=2 if reduction and edge.source < 2 else 1)
            for node in genotype
            for edge in node
        )

    def forward(self, older: Tensor, newer: Tensor) -> Tensor:
        """Two (B, C, h, w) maps -> (B, NODES * dim, h', w')."""
        nodes = [self.preprocess0(older), self.preprocess1(newer)]
        for first in range(0, 2 * NODES, 2):
            left, right = (self._ops[edge](nodes[self.sources[edge]]) for edge in (first, first + 1))
            nodes.append(left + right)
        return torch.cat(nodes[2:], dim=1)
