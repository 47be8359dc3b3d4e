"""Recovery from running out of memory: recognised errors and a way out."""

import copy
import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from .memory import free

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# Only some allocators raise an error of their own type; the others are known by their words.
_TEXTS = (
    "out of memory",  # CUDA's runtime and driver, MPS
    "can't allocate memory",  # PyTorch's allocator on the CPU
    "not enough memory",  # the same on Windows
    "status_alloc_failed",  # cuBLAS, cuDNN
    "could not create a primitive",  # oneDNN
)


def is_out_of_memory(error: BaseException) -> bool:
    """True for errors of exhausted memory, of a device or the process."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _TEXTS)


def copy_to_cpu(model: nn.Module) -> nn.Module:
    """Copy of a model on the CPU that takes no device memory."""
    tensors = [*model.parameters(), *model.buffers()]
    on_cpu = {id(tensor): _like(tensor, tensor.detach().to("cpu", copy=True)) for tensor in tensors}
    return copy.deepcopy(model, on_cpu)


def _like(tensor: Tensor, value: Tensor) -> Tensor:
    return nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value


def on_device_or_cpu(function: Callable[[torch.device], Result], device: torch.device | str, needed: int = 0) -> Result:
    """`function(device)`, or `function(cpu)` if the device lacks memory.

    It lacks memory if less than `needed` is free, or if it runs out.
    """
    device = torch.device(device)
    if needed and device.type == "cuda" and free(device) < needed:
        logger.info("%s has less than %.2f GB free: computing on the CPU instead", device, needed / 1e9)
        return function(torch.device("cpu"))
    try:
        return function(device)
    except (RuntimeError, MemoryError) as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
        logger.warning("out of memory on %s: computing on the CPU instead", device)
    release(device)
    return function(torch.device("cpu"))


def release(device: torch.device) -> None:
    """Give what a device's allocator holds in reserve back to the device."""
    if device.type == "cuda" and torch.cuda.is_available():
        torch.cuda.empty_cache()
