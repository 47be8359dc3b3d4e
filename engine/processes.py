"""Several processes that share one folder of files: who this one is, and how to start the others."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from modeling.predictor import choose_device


@dataclass(frozen=True)
class Place:
    """This process among `world` equal ones, `local` counting those of this machine; as torchrun says it."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @classmethod
    def from_environment(cls) -> "Place":
        """Read RANK, WORLD_SIZE and LOCAL_RANK; one process alone where they are not set."""
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        return cls(rank, world, int(os.environ.get("LOCAL_RANK", rank)))

    def share(self, items: Sequence) -> list:
        """This process' part; the parts of all processes are disjoint and together everything."""
        return list(items[self.rank :: self.world])

    def device(self, name: str) -> str:
        """A CUDA device of its own for each local process, where `name` leaves the choice."""
        if self.world > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
            return f"cuda:{self.local % torch.cuda.device_count()}"
        return name


def run_on_gpus(count: int, command: Sequence[str]) -> int:
    """Run a Python command once a GPU, each process with its own place; returns the largest exit code.

    Raises:
        ValueError: there are not so many GPUs.
    """
    if count < 1:
        raise ValueError(f"--num-gpus must be at least 1, got {count}")
    choose_device(f"cuda:{count - 1}")
    processes = []
    for rank in range(count):
        place = {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
        processes.append(subprocess.Popen([sys.executable, *command], env={**os.environ, **place}))
    try:
        codes = [process.wait() for process in processes]
    except KeyboardInterrupt:  # the terminal has told them too
        codes = [process.wait() for process in processes]
    return max(code if code >= 0 else 1 for code in codes)
