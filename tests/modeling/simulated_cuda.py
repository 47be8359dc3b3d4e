"""Simulated CUDA device on the CPU, with CUDA's refusals.

Inside `simulated_cuda()` every request for the device "cuda" is answered with tensors of the class below. Operations
that mix them with tensors of the CPU raise, other than numbers without dimensions, which CUDA takes too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

CUDA = torch.device("cuda", 0)


class OnCuda(Tensor):
    """A tensor of the pretended device; its numbers are in `held`."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnCuda":
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=held.device,
            requires_grad=held.requires_grad,
        )
        made.held = held
        return made

    @property
    def device(self) -> torch.device:
        return CUDA

    @property
    def is_cuda(self) -> bool:
        return True

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"OnCuda({tuple(self.shape)})"

    @classmethod
    def __torch_dispatch__(
        cls, operator: Callable[..., Any], types: object, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        others = [value for value in tensors if not isinstance(value, OnCuda) and value.dim()]
        if operator is torch.ops.aten.stack.default:  # autograd makes zeros for outputs that nobody used
            others = [value for value in others if value.any()]
        if others and operator not in MIXING:
            raise RuntimeError(
                f"{operator}: expected all tensors to be on the same device, found cuda:0 and a cpu tensor "
                f"{tuple(others[0].shape)}"
            )
        bare_args, bare_kwargs = tree_map_only(OnCuda, lambda tensor: tensor.held, (args, kwargs))
        result = tree_map_only(Tensor, cls, operator(*bare_args, **bare_kwargs))
        return return_and_correct_aliasing(operator, args, kwargs, result)


MIXING = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten.index_put.default}


class _ToCuda(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        return OnCuda(tensor.detach().clone())

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient.held


class _ToCpu(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        return tensor.held.detach().clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return OnCuda(gradient)


def _is_cuda(value: object) -> bool:
    return isinstance(value, str | torch.device) and str(value).startswith("cuda")


class _Requests(TorchFunctionMode):
    """Answers whoever asks for the device, or brings tensors back from it."""

    def __torch_function__(
        self, function: Callable[..., Any], types: object, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function in (Tensor.to, Tensor.cpu, Tensor.cuda):
            return self._moved(function, args, kwargs)
        if function in (Tensor.numpy, Tensor.__array__) and isinstance(args[0], OnCuda):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if function is Tensor.tolist and isinstance(args[0], OnCuda):
            return args[0].held.tolist()
        if function is F.one_hot or (isinstance(kwargs.get("device"), str) and kwargs["device"] == "cpu"):
            bare = function(*tree_map_only(OnCuda, lambda tensor: tensor.held, args), **kwargs)
            return bare if "device" in kwargs else _on_cuda(bare)
        like = function is Tensor.new_tensor and isinstance(args[0], OnCuda)
        wanted = _is_cuda(kwargs.get("device")) or like
        if wanted:
            kwargs["device"] = "cpu"
        result = function(*args, **kwargs)
        return tree_map_only(Tensor, _on_cuda, result) if wanted else result

    def _moved(self, function: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Tensor:
        """`to`, `cpu` and `cuda` split into conversion and move."""
        tensor, rest = args[0], list(args[1:])
        targets = [value for value in (*rest, kwargs.get("device")) if isinstance(value, str | torch.device)]
        likes = [value for value in rest if isinstance(value, Tensor)]
        there = isinstance(tensor, OnCuda)
        if function is Tensor.cuda:
            there = True
        elif function is Tensor.cpu:
            there = False
        elif targets:
            there = _is_cuda(targets[0])
        elif likes:
            there = isinstance(likes[0], OnCuda)
        kwargs.pop("device", None)
        types = [likes[0].dtype] if likes else [value for value in rest if isinstance(value, torch.dtype)]
        rest = [*types, *(value for value in rest if isinstance(value, bool))]
        if function is Tensor.to and (rest or kwargs):
            tensor = tensor.to(*rest, **kwargs)
        if there == isinstance(tensor, OnCuda):
            return tensor
        return _ToCuda.apply(tensor) if there else _ToCpu.apply(tensor)


def _on_cuda(tensor: Tensor) -> Tensor:
    return tensor if isinstance(tensor, OnCuda) else OnCuda(tensor)


def move_(module: nn.Module) -> nn.Module:
    """Parameters and buffers to the pretended device, in place."""
    for child in module.modules():
        for name, parameter in child._parameters.items():
            if parameter is not None:
                child._parameters[name] = nn.Parameter(OnCuda(parameter.detach().clone()), parameter.requires_grad)
        for name, buffer in child._buffers.items():
            if buffer is not None:
                child._buffers[name] = OnCuda(buffer.detach().clone())
    return module


def _answers_for_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Function of a device kind that answers for the CPU.

    Where it is asked about CUDA.
    """
    return lambda kind, *args, **kwargs: function("cpu" if _is_cuda(kind) else kind, *args, **kwargs)


@contextmanager
def simulated_cuda() -> Iterator[torch.device]:
    """Simulated device for tensors inside the block, with the CPU's autocast."""
    names = ("autocast", "is_autocast_enabled", "get_autocast_dtype")
    with patch.multiple(torch, **{name: _answers_for_cpu(getattr(torch, name)) for name in names}), _Requests():
        yield CUDA
