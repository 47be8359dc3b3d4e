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
    """Bytes that this process holds now: of the allocator on CUDA, else resident."""
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
    """Bytes that a container may still take; infinite where there is no limit."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        return float("inf") if limit == "max" else int(limit) - int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return float("inf")


def use_huge_pages() -> None:
    """Take large tensors in pages of 2 MB where Linux has them, which saves a fault for each 4 KB.

    Takes effect before the first large tensor only: call it before a network is built.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def bound_caches() -> None:
    """Keep oneDNN from keeping compiled code for every size of image that it ever saw.

    It holds 1024 pieces otherwise, some 40 MB; one network has fewer than 64. Takes effect before the first
    convolution only.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def give_back() -> None:
    """Return to the system what the C library holds of freed memory; only glibc knows how."""
    if _TRIM is not None:
        _TRIM(0)


def peak(device: torch.device) -> int:
    """Most bytes that this process has had so far: of the allocator on CUDA, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _status("VmHWM") if _STATUS.exists() else _peak_resident()


def _status(name: str) -> int:
    return int(_STATUS.read_text().split(f"{name}:")[1].split()[0]) * 1024


def _peak_resident() -> int:
    """Peak as every Unix knows it; on Linux it would include the process that started this one."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
