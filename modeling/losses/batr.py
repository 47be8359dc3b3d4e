"""Batch-constrained adaptive token routing (BATR) as a loss."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..distributed import Mean, mean_over_processes


def kept_ratio(policies: Sequence[Tensor], mean: Mean = mean_over_processes) -> Tensor:
    """Share of routed tokens over blocks, batch and processes.

    Its value is that of the whole batch, over which `mean` averages; its gradient is that of this part's share, so that
    averaging gradients over parts gives the gradient of the ratio of the whole.
    """
    own = torch.stack([policy.float().mean() for policy in policies]).mean()
    return own + (mean(own) - own.detach())


def ratio_loss(policies: Sequence[Tensor], keep_ratio: float, mean: Mean = mean_over_processes) -> Tensor:
    """BATR: squared distance of the batch's kept-token ratio from its target."""
    return (kept_ratio(policies, mean) - keep_ratio) ** 2
