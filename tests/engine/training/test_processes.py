"""Devices of processes, on a machine with two simulated GPUs."""

from types import SimpleNamespace

import pytest
import torch

from engine.training import processes
from engine.training.processes import claim_device, join_group
from engine.training.session import build_loader
from tests.engine.training.test_trainer import tiny


@pytest.fixture
def gpus(monkeypatch):
    """Two simulated GPUs; records the current one and the group's backend."""
    seen = SimpleNamespace(current=0, backend=None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: seen.current)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: setattr(seen, "current", device.index))
    monkeypatch.setattr(processes.dist, "init_process_group", lambda name, **_: setattr(seen, "backend", name))
    monkeypatch.setattr(processes.comm, "create_local_process_group", lambda size: None)
    return seen


def as_process(monkeypatch, rank, count):
    for name, value in {"LOCAL_RANK": rank, "RANK": rank, "LOCAL_WORLD_SIZE": count, "WORLD_SIZE": count}.items():
        monkeypatch.setenv(name, str(value))


def test_a_named_gpu_becomes_the_current_one(gpus):
    assert claim_device("cuda:1") == torch.device("cuda:1") and gpus.current == 1
    with pytest.raises(ValueError, match="'cuda:2' is not there: found 2"):
        claim_device("cuda:2")


def test_each_process_gets_its_own_gpu(gpus, monkeypatch):
    as_process(monkeypatch, rank=1, count=2)
    for name in ("auto", "cuda"):
        gpus.current = 0
        assert claim_device(name) == torch.device("cuda:1") and gpus.current == 1
    with pytest.raises(ValueError, match=r"train\.device=cuda:0 is one GPU, but there are 2 processes"):
        claim_device("cuda:0")


def test_more_processes_than_gpus_are_refused(gpus, monkeypatch):
    as_process(monkeypatch, rank=2, count=3)
    with pytest.raises(ValueError, match="3 processes on this machine, but 2 GPUs"):
        claim_device("auto")


@pytest.mark.parametrize(("name", "backend"), [("cpu", "gloo"), ("cuda", "nccl")])
def test_the_backend_is_that_of_the_device(gpus, monkeypatch, name, backend):
    as_process(monkeypatch, rank=0, count=2)
    join_group(claim_device(name))
    assert gpus.backend == backend


def test_one_process_joins_no_group(gpus, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")  # left behind by another program
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    join_group(torch.device("cpu"))
    assert gpus.backend is None


def test_memory_is_pinned_for_a_gpu_only(gpus, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("engine.training.session.instantiate", lambda node: asked.append(node) or SimpleNamespace())
    for device in ("cpu", "cuda:0"):
        build_loader(tiny(tmp_path), 0, torch.device(device))
    assert [node["pin_memory"] for node in asked] == [False, True]
