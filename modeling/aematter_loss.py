"""AEMatter's training criterion."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from modeling.output import MattingOutput

UNKNOWN_RANGE = (0.25, 0.75)  # of a trimap in [0, 1]
LEVELS = 5
SIGMA = 1.5


def unknown_l1(alpha: Tensor, target: Tensor, unknown: Tensor) -> Tensor:
    """Smooth absolute difference per unknown pixel, mean over the batch.

    Args:
        alpha, target, unknown: (B, 1, H, W) float32, unknown of 0 and 1.
    """
    difference = (((alpha - target) * unknown) ** 2 + 1e-12).sqrt().sum(dim=(1, 2, 3))
    return (difference / (unknown.sum(dim=(1, 2, 3)) + 5)).mean()


def gaussian_bands(x: Tensor, levels: int = LEVELS) -> list[Tensor]:
    """Differences of (B, 1, H, W) from its blurred copy, finest first; each level halves the blurred one."""
    smallest = 3 * 2 ** (levels - 1)
    if min(x.shape[-2:]) < smallest:
        raise ValueError(f"{levels} levels need sides of at least {smallest} px, got {tuple(x.shape[-2:])}")
    line = torch.exp(-(torch.arange(-2, 3, dtype=x.dtype, device=x.device) ** 2) / (2 * SIGMA**2))
    line = line / line.sum()
    bands = []
    for _ in range(levels):
        blurred = F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), (line[:, None] * line)[None, None])
        bands.append(x - blurred)
        x = F.avg_pool2d(blurred, 2)
    return bands


def band_loss(alpha: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the bands, band k weighted by 2^k."""
    pairs = zip(gaussian_bands(alpha.clamp(0, 1)), gaussian_bands(target), strict=True)
    return sum(2**k * (a - b).abs().mean() for k, (a, b) in enumerate(pairs))


@dataclass
class AEMatterCriterion:
    """Absolute difference everywhere, again over the unknown region, and over frequency bands; all in float32.

    The known region of the alpha is taken from the trimap first, as at inference. CheapMatting's own criterion was
    never published; this one serves both.

    Attributes:
        weight: of each term.
    """

    weight: float = 0.5

    def __call__(self, output: MattingOutput, alpha: Tensor, trimap: Tensor) -> dict[str, Tensor]:
        """Losses by name.

        Args:
            output: of a network in training mode.
            alpha: (B, 1, H, W) ground truth in [0, 1].
            trimap: (B, 1, H, W) in [0, 1].
        """
        background, foreground = trimap < UNKNOWN_RANGE[0], trimap > UNKNOWN_RANGE[1]
        unknown = (~(background | foreground)).float()
        target = alpha.float()
        with torch.autocast(alpha.device.type, enabled=False):
            predicted = output.alpha.float() * unknown + foreground.float()
            return {
                "l1_loss": self.weight * (predicted - target).abs().mean(),
                "unknown_l1_loss": self.weight * unknown_l1(predicted, target, unknown),
                "laplacian_loss": self.weight * band_loss(predicted, target),
            }
