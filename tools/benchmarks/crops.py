"""Training crops per second: the published order of operations, and ours."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from data.files import read_alpha, read_image
from data.training import datasets, sources
from data.training.datasets import MattingDataset
from data.training.sources import BackgroundFolder, ForegroundFolder
from tools.reference.composition import compose

FOREGROUNDS, BACKGROUNDS = 4, 8
BACKGROUND_SIZE = (480, 640)  # COCO's


class Stopwatch:
    """Sum of processor seconds spent in functions, on one thread."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watch(self, function: Callable) -> Callable:
        """The same function, timed."""

        def timed(*args, **options):
            start = time.process_time()
            try:
                return function(*args, **options)
            finally:
                self.seconds += time.process_time() - start

        return timed


def make_files(root: Path, height: int, width: int) -> None:
    """Textured JPEG foregrounds, PNG alphas with hairs, JPEG backgrounds."""
    rng = np.random.default_rng(0)
    for folder in ("fg", "alpha", "bg"):
        (root / folder).mkdir()
    for number in range(FOREGROUNDS):
        cv2.imwrite(str(root / "fg" / f"{number}.jpg"), _texture(rng, height, width), [cv2.IMWRITE_JPEG_QUALITY, 90])
        alpha = np.zeros((height, width), np.uint8)
        centre, side = (width // 2, height // 2), min(height, width)
        cv2.circle(alpha, centre, side * 3 // 10, 255, -1)
        for angle in rng.uniform(0, 2 * np.pi, 200):
            reach = side * rng.uniform(0.3, 0.45)
            end = (int(centre[0] + reach * np.cos(angle)), int(centre[1] + reach * np.sin(angle)))
            cv2.line(alpha, centre, end, 255, max(1, side // 1000), cv2.LINE_AA)
        cv2.imwrite(str(root / "alpha" / f"{number}.png"), cv2.GaussianBlur(alpha, (0, 0), side / 1000))
    for number in range(BACKGROUNDS):
        cv2.imwrite(str(root / "bg" / f"{number}.jpg"), _texture(rng, *BACKGROUND_SIZE))


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    fine = rng.integers(0, 10, (height, width, 3), dtype=np.uint8)
    return cv2.add(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), fine)


def straightforward(dataset: MattingDataset, index: int, watch: Stopwatch) -> None:
    """Make one crop in the published order, with our decoders."""
    colour, alpha = watch.watch(read_image), watch.watch(read_alpha)
    rng = np.random.default_rng(index)
    foregrounds = dataset.foregrounds
    layers = [foregrounds.pick(index, rng)]
    if rng.random() < dataset.settings.merge_probability:
        layers.append(foregrounds.pick_other(index, rng))
    parts = [(colour(layer.colour), alpha(layer.alpha).astype(np.float32) / 255) for layer in layers]
    parts += [(None, None)] * (2 - len(parts))
    compose(*parts[0], *parts[1], colour(dataset.backgrounds.pick(index)), rng)


def measure(height: int, width: int, crops: int, shared: int) -> str:
    """Text table: crops per second of processor time, one thread."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_files(root, height, width)
        foregrounds, backgrounds = ForegroundFolder(root), BackgroundFolder(root / "bg")
        single, several = (
            MattingDataset(foregrounds, backgrounds, crops_per_foreground=count, length=crops, cache_mb=cache_mb)
            for count, cache_mb in ((1, 0), (shared, 256))
        )
        names = ("published order", "ours", f"ours, {shared} crops a decode")
        seconds, watches = [0.0] * len(names), [Stopwatch() for _ in names]
        runs = (lambda i: straightforward(single, i, watches[0]), single.__getitem__, several.__getitem__)
        straightforward(single, 0, Stopwatch())  # the first call of everything is slower
        single[0]
        for index in range(crops):
            for number, run in enumerate(runs):
                time_decoders(watches[number])
                start = time.process_time()
                run(index)
                seconds[number] += time.process_time() - start
    lines = [f"{width} x {height} foregrounds, {crops} crops each, one core, interleaved"]
    for name, spent, watch in zip(names, seconds, watches, strict=True):
        lines.append(
            f"  {name:<26} {crops / spent:7.1f} crops/s   decoding {watch.seconds / spent:4.0%}   "
            f"{seconds[0] / spent:5.1f}x"
        )
    return "\n".join(lines)


def time_decoders(watch: Stopwatch) -> None:
    """Time the dataset's decoders with this watch."""
    sources.read_alpha = watch.watch(read_alpha)
    sources.read_image = datasets.read_image = watch.watch(read_image)
