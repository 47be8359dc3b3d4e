"""Processes of a run: one device each, one group over all."""

import logging
import os
import signal
import socket
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import active_children
from typing import Any

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.multiprocessing import ProcessExitedException, start_processes
from torch.nn.parallel import DistributedDataParallel

from modeling.base import MattingOutput
from modeling.precision import choose_device

STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
_TIMEOUT = timedelta(minutes=60)  # a validation of large pictures may keep one process longer than the others


def check_environment() -> None:
    """Refuse incomplete or non-numeric variables of a launcher.

    Raises:
        ValueError: names the first one.
    """
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE") if "LOCAL_RANK" in os.environ else ():
        value = os.environ.get(name)
        if value is None or not value.isdecimal():
            raise ValueError(f"{name} in the environment is {value!r}, no number; use torchrun, or unset LOCAL_RANK")


def claim_device(name: str) -> torch.device:
    """Device of this process, made current if it is a GPU.

    Under several processes "auto" and "cuda" are the GPU of the local rank.

    Raises:
        ValueError: there is no such device, or there are more processes than GPUs.
    """
    device = choose_device(name)
    if device.type != "cuda":
        return device
    processes, count = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
    if processes > 1:
        if processes > count:
            raise ValueError(f"{processes} processes on this machine, but {count} GPUs: start one process per GPU")
        if device.index is not None:
            raise ValueError(f"train.device={name} is one GPU, but there are {processes} processes: use cuda")
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    elif device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    torch.cuda.set_device(device)  # random states and memory figures are read from the current device
    return device


def join_group(device: torch.device) -> None:
    """Join the process group of the environment; none for one process.

    torchrun or `launch` set the environment.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or "LOCAL_RANK" not in os.environ:
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))


def launch(work: Callable[..., None], args: tuple, processes: int, machines: int, machine: int, url: str) -> int:
    """Run `work(*args)` in local processes, forwarding signals; returns the exit code.

    Args:
        url: tcp://HOST:PORT of machine 0, or "auto" for a single machine.
    """
    host, port = ("127.0.0.1", str(_free_port())) if url == "auto" else url.removeprefix("tcp://").rsplit(":", 1)
    shared = {
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
        "WORLD_SIZE": str(processes * machines),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    _forward_signals()
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # repeats what is reported below
    try:
        start_processes(_child, (work, args, shared, machine * processes), nprocs=processes, start_method="spawn")
    except ProcessExitedException as error:
        if error.exit_code >= 0:
            return error.exit_code
        raise ConnectionError(f"process {error.error_index} ended by {error.signal_name}") from None
    return 0


def _child(local_rank: int, work: Callable[..., None], args: tuple, shared: dict[str, str], first: int) -> None:
    os.environ.update(shared, LOCAL_RANK=str(local_rank), RANK=str(first + local_rank))
    work(*args)


def _forward_signals() -> None:
    """Forward ending signals to the processes of the run, and wait."""

    def forward(number: int, frame: Any) -> None:
        for child in active_children():
            os.kill(child.pid, number)

    for number in STOPPING:
        signal.signal(number, forward)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class _Plain(nn.Module):
    """Network with a dictionary as output, whose tensors DDP finds.

    In a dataclass it finds none.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *args: Any, **inputs: Any) -> dict[str, Any]:
        return vars(self.network(*args, **inputs))


class _Averaged(DistributedDataParallel):
    """Network whose gradients are averaged over processes.

    A static graph needs the output's tensors: without them no gradient is averaged, and there is no error.
    """

    def forward(self, *args: Any, **inputs: Any) -> MattingOutput:
        return MattingOutput(**super().forward(*args, **inputs))


def distributed(model: nn.Module, device: torch.device, precision: torch.dtype, static_graph: bool) -> nn.Module:
    """Model with gradients averaged over processes; the bare model for one.

    Args:
        static_graph: each step computes the same, in one backward pass.
    """
    if comm.get_world_size() == 1:
        return model
    wrapped = _Averaged(
        _Plain(model),
        device_ids=[device] if device.type == "cuda" else None,
        broadcast_buffers=True,
        gradient_as_bucket_view=True,
        static_graph=static_graph,
    )
    if precision == torch.float16:  # published; safe because the scaler keeps gradients within fp16
        wrapped.register_comm_hook(None, default_hooks.fp16_compress_hook)
    return wrapped


def share_cores(device: torch.device) -> None:
    """Divide the cores of this machine among its processes on the CPU."""
    if device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // comm.get_local_size()))
