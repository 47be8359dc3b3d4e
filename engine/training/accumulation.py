"""Gradients of a batch in parts, with means over the whole batch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from modeling.losses.terms import Mean, mean_over_processes


class BatchMeans:
    """Batch means of a criterion's figures, over all parts and processes.

    A first pass over the parts records each figure; in the second one the criterion, which asks in the same order, gets
    its mean over all of them.
    """

    def __init__(self) -> None:
        self._recorded: list[list[Tensor]] = []
        self._means: list[Tensor] = []

    def recorder(self) -> Mean:
        """Return the `mean` of the next part's first pass."""
        figures: list[Tensor] = []
        self._recorded.append(figures)

        def record(value: Tensor) -> Tensor:
            figures.append(value.detach())
            return value.detach()

        return record

    def average(self) -> None:
        """End the first pass."""
        figures = zip(*self._recorded, strict=True)  # per figure its values in all parts
        self._means = [mean_over_processes(torch.stack(values).mean(dim=0)) for values in figures]

    def player(self) -> Mean:
        """Return the `mean` of a part's second pass."""
        means = iter(self._means)
        return lambda value: next(means)


def split_batch(batch: Mapping[str, Any], parts: int) -> list[dict[str, Any]]:
    """Split a batch into equal parts along the first axis.

    Lists are split alike.
    """
    size = len(batch["name"]) // parts
    starts = range(0, size * parts, size)
    return [{key: value[start : start + size] for key, value in batch.items()} for start in starts]


@contextmanager
def without_trace(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Leave random generators and running statistics as they were before the block."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield
        for buffer, before in buffers:
            buffer.copy_(before)
