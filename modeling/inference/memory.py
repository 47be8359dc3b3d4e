"""Memory of the machine and of this process."""

import ctypes
import os
import resource
import sys
from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")
_STATUS = Path("/proc/self/status")  # Linux only
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def in_use(device: torch.device) -> int:
    """Bytes in use: allocated on CUDA, resident otherwise."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _status("VmRSS") if _STATUS.exists() else _peak_resident()


def free(device: torch.device) -> int:
    """Bytes that this process may still take without paging or failing."""
    if device.type == "cuda":
        reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reusable
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        raise ValueError("free memory is not known on this system: give an amount instead of 'auto'")
    available = int(meminfo.read_text().split("MemAvailable:")[1].split()[0]) * 1024
    return min(available, _left_in_cgroup())


def _left_in_cgroup() -> float:
    """Bytes left to the container; infinite without a limit."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        return float("inf") if limit == "max" else int(limit) - int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return float("inf")


def use_huge_pages() -> None:
    """Allocate large tensors in pages of 2 MB, where Linux has them.

    This saves a page fault per 4 KB.

    Takes effect before the first large tensor only: call it before a network is built.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def bound_caches() -> None:
    """Bound oneDNN's cache of code, which otherwise grows with every image size.

    It holds 1024 pieces otherwise, some 40 MB; one network has fewer than 64. Takes effect before the first
    convolution only.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def give_back() -> None:
    """Return freed memory to the system (glibc only)."""
    if _TRIM is not None:
        _TRIM(0)


def peak(device: torch.device) -> int:
    """Peak bytes so far: allocated on CUDA, resident otherwise."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _status("VmHWM") if _STATUS.exists() else _peak_resident()


def _status(name: str) -> int:
    return int(_STATUS.read_text().split(f"{name}:")[1].split()[0]) * 1024


def _peak_resident() -> int:
    """Peak resident bytes by `getrusage`; on Linux the parent's may be included."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
