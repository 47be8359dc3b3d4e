"""Hundreds of images of varying sizes in one process: does it grow?"""

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from data.folders import find_pairs
from engine.batch.folders import plan, run
from tests.soak.fuzz_pairs import predictor
from tests.soak.pictures import scene, trimap

SETTLED = 50  # images after which memory has to stay where it is
_STATUS = Path("/proc/self/status")


@dataclass
class Growth:
    """Resources held by a process after each image."""

    resident: Sequence[int]
    files: Sequence[int]
    threads: Sequence[int]
    failures: int

    @property
    def memory(self) -> float:
        """Growth of peak resident memory after the first images, as a share."""
        return max(self.resident[SETTLED:]) / max(self.resident[:SETTLED]) - 1

    @property
    def constant(self) -> bool:
        """True if the number of open files and threads did not change."""
        return max(self.files[SETTLED:]) <= max(self.files[:SETTLED]) and len(set(self.threads[SETTLED:])) == 1


def write_images(folder: Path, count: int, sizes: int) -> None:
    """Pictures of that many sizes in random order, all sizes first."""
    rng = np.random.default_rng(0)
    image, known = scene(rng)[..., :3], trimap(rng)
    for kind in ("image", "trimap"):
        (folder / kind).mkdir(parents=True)
    drawn = rng.integers(17, 260, (sizes, 2))
    drawn[0] = 260  # the largest comes early, since it decides how much the process holds from then on
    for index in range(count):
        size = tuple(int(side) for side in drawn[index if index < sizes else rng.integers(sizes)])
        cv2.imwrite(str(folder / "image" / f"{index:04d}.jpg"), cv2.resize(image, size))
        cv2.imwrite(str(folder / "trimap" / f"{index:04d}.png"), cv2.resize(known, size, interpolation=0))


def long_run(folder: Path, count: int, sizes: int, onednn: bool = True) -> Growth:
    """Matte `count` images in this process and watch it."""
    write_images(folder / "data", count, sizes)
    seen: list[tuple[int, int, int]] = []

    def look() -> None:
        resident = int(_STATUS.read_text().split("VmRSS:")[1].split()[0]) * 1024
        seen.append((resident, len(os.listdir("/proc/self/fd")), threading.active_count()))

    logging.getLogger("engine").setLevel(logging.ERROR)
    with torch.backends.mkldnn.flags(enabled=onednn):
        report = run(predictor(), plan(find_pairs(folder / "data"), folder / "out"), advance=look)
    return Growth(*zip(*seen, strict=True), failures=len(report.failures))
