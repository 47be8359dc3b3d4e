"""Current and peak memory of a process."""

import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from modeling.inference.memory import in_use, peak

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[3]


def test_peak_remembers_what_was_held():
    before = in_use(CPU)
    with mmap.mmap(-1, 50_000_000) as block:  # not from the allocator, which may have freed pages at hand
        np.frombuffer(block, np.uint8)[:] = 1
        held = in_use(CPU)
    assert held - before > 40_000_000
    assert in_use(CPU) < held - 40_000_000
    assert peak(CPU) >= held - 1_000_000


def test_peak_is_this_process_alone():
    """Without the parent's, which getrusage includes on Linux."""
    block = np.ones(1_000_000_000, np.uint8)
    code = "import torch; from modeling.inference.memory import *; d = torch.device('cpu'); print(peak(d) - in_use(d))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout) < len(block) / 2


def test_large_tensors_come_in_large_pages():
    """Large pages, where the system grants them, reduce page faults."""
    code = (
        "import resource, torch; from modeling.inference.memory import use_huge_pages; use_huge_pages(); "
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt; "
        "before = faults(); block = torch.ones(64, 2**20); print(faults() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    small_pages = 64 * 2**20 * 4 // mmap.PAGESIZE
    asked = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if asked.exists() and "[never]" not in asked.read_text():
        assert int(done.stdout) < small_pages / 4
    else:
        assert int(done.stdout) <= 2 * small_pages
