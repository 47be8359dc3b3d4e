"""Device and precision by name, and modes of computing."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor
from torch.amp import is_autocast_available

DType = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """Device by name; "auto" takes CUDA, then MPS, then the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r} is not there: found {torch.cuda.device_count()} CUDA devices; use cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device 'mps' is not available on this machine; use cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device {name!r} is not supported: use auto, cpu, cuda, cuda:N or mps")
    return device


def choose_dtype(name: DType, device: torch.device) -> torch.dtype:
    """Computing precision by name; "auto" is fp32, which reproduces published results."""
    if name == "auto":
        return torch.float32
    if name not in DTYPES:
        raise ValueError(f"unknown dtype {name!r}: use one of auto, {', '.join(DTYPES)}")
    if name == "fp16" and device.type == "cpu":
        raise ValueError("fp16 is not computed on a CPU: use bf16 or fp32")
    return DTYPES[name]


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """Dtype of matrix products: autocast's if active, else the tensor's own."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype


def autocast_off(device: torch.device) -> AbstractContextManager:
    """Leave autocast, on devices that have one (the meta device has none)."""
    return torch.autocast(device.type, enabled=False) if is_autocast_available(device.type) else nullcontext()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Switch autocast and reduced-precision float32 products off for a few lines."""
    previous = torch.get_float32_matmul_precision()
    if previous != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with autocast_off(device):
            yield
    finally:
        if previous != "highest":
            torch.set_float32_matmul_precision(previous)


class ExactConvolutions:
    """Context for float32 convolutions without cuDNN's default TF32.

    TF32 keeps 10 bits of the mantissa: enough to send tokens another way than published. The switch is one for the
    whole process, so that the last of several threads to leave restores it.
    """

    _lock, _inside, _previous = threading.Lock(), 0, True

    def __enter__(self) -> None:
        kind = ExactConvolutions
        with kind._lock:
            if kind._inside == 0:
                kind._previous = torch.backends.cudnn.allow_tf32
                torch.backends.cudnn.allow_tf32 = False
            kind._inside += 1

    def __exit__(self, *error: object) -> None:
        kind = ExactConvolutions
        with kind._lock:
            kind._inside -= 1
            if kind._inside == 0:
                torch.backends.cudnn.allow_tf32 = kind._previous


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit to one thread, since several slow small operations down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
