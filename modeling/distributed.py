"""Averages over the processes of a training."""

from collections.abc import Callable

import torch.distributed as dist
from torch import Tensor

# Mean of a figure of this part of a batch over the whole batch, without gradient.
Mean = Callable[[Tensor], Tensor]


def mean_over_processes(value: Tensor) -> Tensor:
    """Mean over all training processes, without gradient; `value` itself for one process."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return value.detach()
    mean = value.detach().clone()
    dist.all_reduce(mean)
    return mean / dist.get_world_size()
