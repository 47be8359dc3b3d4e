"""What a process has and has had."""

import subprocess
import sys

import numpy as np
import torch

from modeling.memory import in_use, peak

CPU = torch.device("cpu")


def test_peak_remembers_what_was_held():
    before = in_use(CPU)
    block = np.ones(50_000_000, np.uint8)
    held = in_use(CPU)
    assert held - before > 40_000_000
    assert peak(CPU) >= held - 1_000_000
    del block
    assert peak(CPU) >= held - 1_000_000


def test_peak_is_this_process_alone():
    """Not that of the process that started it, as the figure of getrusage is on Linux."""
    block = np.ones(1_000_000_000, np.uint8)
    code = "import torch; from modeling.memory import peak; print(peak(torch.device('cpu')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < len(block)
