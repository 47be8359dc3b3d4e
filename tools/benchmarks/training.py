"""One measurement of training steps, in this process."""

import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import LazyCall, instantiate
from detectron2.engine import HookBase
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from data.training.sources import BackgroundFolder, ForegroundFolder
from engine.build import load_config
from engine.training.processes import claim_device
from engine.training.session import build_loader, build_network, build_optimizer
from engine.training.trainer import MattingTrainer, choose_precision
from modeling.backbone import attention
from modeling.inference.memory import in_use, peak, use_huge_pages
from tools.benchmarks.crops import make_files

ROOT = Path(__file__).resolve().parents[2]
_GEMM = 2048  # side of the matrices by which the machine's rate is measured


class Stopwatch(HookBase):
    """Times of steps after the first, and their waits for data.

    The matrix products of the first step are counted.
    """

    def __init__(self, device: torch.device, count: bool) -> None:
        self.device, self.seconds, self.spent, self.waiting, self.gflop = device, [], [], [], 0.0
        self._counter = FlopCounterMode(display=False) if count else None

    def before_step(self) -> None:
        self._wait()
        self._started, self._spent = time.perf_counter(), time.process_time()
        if self._counter is not None and self.trainer.iter == 0:
            self._counter.__enter__()

    def after_step(self) -> None:
        self._wait()
        if self.trainer.iter:
            self.seconds.append(time.perf_counter() - self._started)
            self.spent.append(time.process_time() - self._spent)
            self.waiting.append(self.trainer.storage.history("data_time").latest())
        elif self._counter is not None:
            self._counter.__exit__(None, None, None)
            self.gflop = self._counter.get_total_flops() / 1e9

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def measure(
    config: str,
    size: int,
    variant: str,
    batch: int,
    steps: int,
    device: str,
    precision: str,
    workers: int,
    threads: int,
) -> dict[str, Any]:
    """Run a few steps.

    Returns:
        medians per step of `seconds` and `cpu_seconds` (of all threads; other programs change them less); `peak` bytes
        above the built model; `waiting` for data, and `share` of the matrix rate, as parts of 1; or `error`.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    use_huge_pages()
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        settings = load_config(
            ROOT / "configs" / f"{config}.py",
            [
                f"train.output_dir={folder}",
                f"train.device={device}",
                f"train.precision={precision}",
                f"train.total_batch_size={batch}",
                f"dataloader.train.num_workers={workers}",
                f"dataloader.train.dataset.settings.crop.size_px={size}",
            ],
        )
        settings.dataloader.train.dataset.foregrounds = LazyCall(ForegroundFolder)(root=folder)
        settings.dataloader.train.dataset.backgrounds = LazyCall(BackgroundFolder)(root=f"{folder}/bg")
        make_files(Path(folder), 2 * size, 2 * size)
        if variant == "published":
            write_out_attention()
        try:
            return _run(settings, variant, steps, Path(folder))
        except (MemoryError, RuntimeError) as error:  # torch's allocators raise RuntimeError
            return {"error": str(error).splitlines()[0][:80]}


def _run(settings: Any, variant: str, steps: int, folder: Path) -> dict[str, Any]:
    device = claim_device(settings.train.device)
    precision = choose_precision(settings.train.precision, device)
    rate = matrix_rate(device, precision)
    model = build_network(settings, from_files=False).to(device, memory_format=torch.channels_last)
    model.train()
    if variant == "recomputed":
        model.checkpoint_activations()
    if variant == "compiled":
        model.compile()
    trainer = MattingTrainer(
        model=model,
        criterion=instantiate(settings.criterion),
        data_loader=(),
        optimizer=build_optimizer(settings, model),
        device=device,
        precision=precision,
        output_dir=folder,
    )
    trainer.set_loader(build_loader(settings, 0, device))
    watch = Stopwatch(device, count=variant != "compiled")
    trainer.register_hooks([watch])
    held = in_use(device)
    trainer.train(0, steps + 1)
    seconds, spent = (sorted(times)[len(times) // 2] for times in (watch.seconds, watch.spent))
    return {
        "seconds": seconds,
        "cpu_seconds": spent,
        "peak": peak(device) - held,
        "waiting": sum(watch.waiting) / sum(watch.seconds),
        "share": watch.gflop / (spent if device.type == "cpu" else seconds) / rate,
    }


def matrix_rate(device: torch.device, precision: torch.dtype) -> float:
    """GFLOP per second (on a CPU, per second of a core) of a large matrix product, the best of three."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    left, right = (torch.randn(_GEMM, _GEMM, device=device, dtype=precision) for _ in range(2))
    best = float("inf")
    for _ in range(3):
        started = clock()
        (left @ right).sum().item()
        best = min(best, clock() - started)
    return 2 * _GEMM**3 / best / 1e9


def write_out_attention() -> None:
    """Compute attention as published, in this process: whole matrices, no fused kernels."""

    def written_out(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        return (logits if attn_mask is None else logits + attn_mask).softmax(dim=-1) @ v

    F.scaled_dot_product_attention = written_out
    attention.HELD_WEIGHTS.update(cpu=2**62, device=2**62)
