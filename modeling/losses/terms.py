"""Terms of the criteria: alpha mattes, kept-token ratio (BATR), distillation."""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

Mean = Callable[[Tensor], Tensor]  # of a figure of a part of the batch over the whole batch, without gradient

PUBLISHED_AREA = 512 * 512  # the published losses are scaled for crops of this many pixels
PYRAMID_LEVELS = 5
BAND_LEVELS, BAND_SIGMA = 5, 1.5  # of AEMatter's frequency bands


def mean_over_processes(value: Tensor) -> Tensor:
    """Mean over all training processes, without gradient; `value` itself for one process."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return value.detach()
    mean = value.detach().clone()
    dist.all_reduce(mean)
    return mean / dist.get_world_size()


def masked_l1(alpha: Tensor, target: Tensor, mask: Tensor, mean: Mean = mean_over_processes) -> Tensor:
    """Mean absolute difference over a mask, scaled by 512 * 512 / (H * W).

    0 for an empty mask.

    Args:
        alpha, target, mask: (B, 1, H, W), mask of 0 and 1.
        mean: over the whole batch, of which this may be a part: the mask's size is taken from there.
    """
    return (alpha * mask - target * mask).abs().mean() * _area_scale(mask, mean)


def masked_divergence(alpha: Tensor, target: Tensor, mask: Tensor, mean: Mean = mean_over_processes) -> Tensor:
    """Kullback-Leibler divergence over a mask, scaled like `masked_l1`.

    Its gradient in the logit is `alpha - target`. That of the absolute difference vanishes where alpha is near 0 or 1,
    so that a network which starts from a confident but wrong estimate hardly leaves it.

    Args:
        alpha, target, mask, mean: as in `masked_l1`.
    """
    excess = _entropy(alpha, target) - _entropy(target, target)
    return (excess * mask).mean() * _area_scale(mask, mean)


def _entropy(alpha: Tensor, target: Tensor) -> Tensor:
    logs = alpha.clamp(min=1e-6).log(), (1 - alpha).clamp(min=1e-6).log()
    return -(target * logs[0] + (1 - target) * logs[1])


def _area_scale(mask: Tensor, mean: Mean) -> Tensor:
    """B * 512 * 512 / (size of the mask), 0 for an empty mask."""
    size = mean(mask.sum())
    return torch.where(size > 0, len(mask) * PUBLISHED_AREA / size.clamp(min=1), 0)


def gradient_penalty(
    alpha: Tensor, target: Tensor, mask: Tensor, sparsity: float = 0.01, mean: Mean = mean_over_processes
) -> Tensor:
    """Sobel gradient difference over a mask, plus a small gradient penalty.

    Args:
        alpha, target, mask: (B, 1, H, W).
        sparsity: weight of the penalty.
        mean: as in `masked_l1`.
    """
    sobel = alpha.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    kernel = torch.stack([sobel, sobel.t()])[:, None]  # (2, 1, 3, 3)
    slopes = F.conv2d(alpha, kernel, padding=1)  # (B, 2, H, W)
    wanted = F.conv2d(target, kernel, padding=1)
    terms = (slopes * mask - wanted * mask).abs() + sparsity * (slopes * mask).abs()
    return 2 * terms.mean() * _area_scale(mask, mean)  # twice: the two directions are summed, not averaged


def laplacian_pyramid(x: Tensor, levels: int = PYRAMID_LEVELS) -> list[Tensor]:
    """Band-pass levels of (B, 1, H, W), finest first, without the low-pass rest.

    Sides must be at least 64.
    """
    smallest = 2 ** (levels + 1)
    if min(x.shape[-2:]) < smallest:
        raise ValueError(f"a pyramid of {levels} levels needs sides of at least {smallest}, got {tuple(x.shape)}")
    bands = []
    for _ in range(levels):
        x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]
        down = _blur(x)[..., ::2, ::2]
        spread = torch.zeros_like(x)
        spread[..., ::2, ::2] = 4 * down
        bands.append(x - _blur(spread))
        x = down
    return bands


def _blur(x: Tensor) -> Tensor:
    """5x5 binomial filter by sums of shifted maps.

    Convolving one channel is slow on CPUs in its backward pass.
    """
    x = F.pad(x, (2, 2, 2, 2), mode="reflect")
    for axis in (-2, -1):
        parts = [x.narrow(axis, shift, x.shape[axis] - 4) for shift in range(5)]
        x = (parts[0] + parts[4]) / 16 + (parts[1] + parts[3]) / 4 + parts[2] * 0.375
    return x


def laplacian_loss(alpha: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of pyramid levels, level l weighted by 2^l / 5."""
    bands = laplacian_pyramid(alpha - target)  # linear
    return sum(2**level * band.abs().mean() for level, band in enumerate(bands)) / PYRAMID_LEVELS


def matting_losses(
    alpha: Tensor, target: Tensor, unknown: Tensor, mean: Mean = mean_over_processes
) -> dict[str, Tensor]:
    """The four published terms by name, whose sum is ViTMatte's criterion.

    Args:
        alpha, target: (B, 1, H, W).
        unknown: (B, 1, H, W), 1 where the trimap is unknown, else 0.
        mean: as in `masked_l1`.
    """
    return {
        "unknown_l1_loss": masked_l1(alpha, target, unknown, mean),
        "known_l1_loss": masked_l1(alpha, target, (unknown == 0).to(alpha.dtype), mean),
        "loss_pha_laplacian": laplacian_loss(alpha, target),
        "loss_gradient_penalty": gradient_penalty(alpha, target, unknown, mean=mean),
    }


def unknown_l1(alpha: Tensor, target: Tensor, unknown: Tensor) -> Tensor:
    """Smooth absolute difference per unknown pixel, mean over the batch.

    Args:
        alpha, target, unknown: (B, 1, H, W) float32, unknown of 0 and 1.
    """
    difference = (((alpha - target) * unknown) ** 2 + 1e-12).sqrt().sum(dim=(1, 2, 3))
    return (difference / (unknown.sum(dim=(1, 2, 3)) + 5)).mean()


def gaussian_bands(x: Tensor, levels: int = BAND_LEVELS) -> list[Tensor]:
    """Differences of (B, 1, H, W) from blurred copies, halved per level."""
    smallest = 3 * 2 ** (levels - 1)
    if min(x.shape[-2:]) < smallest:
        raise ValueError(f"{levels} levels need sides of at least {smallest} px, got {tuple(x.shape[-2:])}")
    line = torch.exp(-(torch.arange(-2, 3, dtype=x.dtype, device=x.device) ** 2) / (2 * BAND_SIGMA**2))
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


def kept_ratio(policies: Sequence[Tensor], mean: Mean = mean_over_processes) -> Tensor:
    """Share of routed tokens over blocks, batch and processes.

    Its value is that of the whole batch, over which `mean` averages; its gradient is that of this part's share, so that
    averaging gradients over parts gives the gradient of the ratio of the whole.
    """
    own = torch.stack([policy.float().mean() for policy in policies]).mean()
    return own + (mean(own) - own.detach())


def ratio_loss(policies: Sequence[Tensor], keep_ratio: float, mean: Mean = mean_over_processes) -> Tensor:
    """BATR: squared distance of the batch's kept-token ratio from its target.

    Batch-constrained adaptive token routing holds the mean over a batch, so that an image may keep more than another.
    """
    return (kept_ratio(policies, mean) - keep_ratio) ** 2


def distillation_loss(
    features: Tensor, teacher_features: Tensor, weights: Tensor | None = None, mean: Mean = mean_over_processes
) -> Tensor:
    """Mean squared difference of (B, C, h, w) features, of tokens weighed by (B, 1, h, w) or alike."""
    if weights is None:
        return F.mse_loss(features.float(), teacher_features.float())
    squares = (features.float() - teacher_features.float()).square()
    return (squares * weights).sum() / (mean(weights.sum()) * features.shape[1])
