"""Several processes that share one folder of files."""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from modeling.precision import choose_device

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Rank, world size and local rank, as set by torchrun."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @classmethod
    def from_environment(cls) -> "Place":
        """Rank, world size and local rank by environment; one process by default.

        Reads RANK, WORLD_SIZE and LOCAL_RANK.

        Raises:
            ValueError: they do not fit each other, as where one was left over from another program.
        """
        given = [name for name in ("RANK", "WORLD_SIZE") if name in os.environ]
        if len(given) == 1:
            raise ValueError(f"{given[0]} is set in the environment without its partner; use torchrun, or unset it")
        try:
            rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
            place = cls(rank, world, int(os.environ.get("LOCAL_RANK", rank)))
            int(os.environ.get("LOCAL_WORLD_SIZE", world))
        except ValueError as error:
            raise ValueError(
                f"RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE in the environment must be numbers ({error})"
            ) from error
        if not 0 <= rank < world or place.local < 0:
            raise ValueError(f"the environment says RANK={rank} of WORLD_SIZE={world}: ranks count from 0")
        return place

    def share(self, items: Sequence) -> list:
        """Items of this process; processes' items are disjoint and complete."""
        own = list(items[self.rank :: self.world])
        if self.world > 1:
            logger.info(
                "process %d of %d (RANK, WORLD_SIZE): %d of %d files", self.rank, self.world, len(own), len(items)
            )
        return own

    def device(self, name: str) -> str:
        """Device of this process: its own GPU where `name` leaves the choice."""
        if self.world > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
            return f"cuda:{self.local % torch.cuda.device_count()}"
        return name

    def sharing(self, name: str) -> int:
        """Processes of this machine that compute on the device of this one."""
        local = int(os.environ.get("LOCAL_WORLD_SIZE", self.world))
        if name in ("auto", "cuda") and torch.cuda.is_available():
            return -(-local // torch.cuda.device_count())
        return local


def run_on_gpus(count: int, command: Sequence[str]) -> int:
    """Run a Python command once per GPU; returns the largest exit code.

    Raises:
        ValueError: there are not so many GPUs.
    """
    if count < 1:
        raise ValueError(f"--num-gpus must be at least 1, got {count}")
    choose_device(f"cuda:{count - 1}")
    processes = []
    for rank in range(count):
        place = {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count)}
        processes.append(subprocess.Popen([sys.executable, *command], env={**os.environ, **place}))
    try:
        codes = [process.wait() for process in processes]
    except KeyboardInterrupt:  # the terminal has told them too
        codes = [process.wait() for process in processes]
    for rank, code in enumerate(codes):
        if code < 0:
            logger.error(
                "process %d of %d was killed (signal %d); finished files are complete, the same command does the rest",
                rank,
                count,
                -code,
            )
    return max(code if code >= 0 else 1 for code in codes)
