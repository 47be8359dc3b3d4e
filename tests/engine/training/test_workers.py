"""Loading workers: surviving signals to the run, ending with it."""

import multiprocessing
import os
import signal
import time

import pytest
import torch

from engine.training import session
from engine.training.workers import WorkerSignals
from tests.engine.synthetic import Composites
from tests.engine.training.test_trainer import tiny


def broken(self, key):
    raise ValueError("sample 3 of epoch 0: no usable file\nwith a second line: run tools/check_dataset.py")


def test_an_error_in_a_worker_is_one_line_and_keeps_nobody_waiting(tmp_path, monkeypatch):
    monkeypatch.setattr(Composites, "__getitem__", broken)
    with pytest.raises(ValueError) as error:  # holds on to the loader, as the end of the program does
        session.train(tiny(tmp_path, "dataloader.train.num_workers=1"), "tiny", resume=False)
    assert str(error.value) == "ValueError: sample 3 of epoch 0: no usable file"
    started = time.monotonic()
    for worker in multiprocessing.active_children():
        worker.terminate()
        worker.join()
    assert time.monotonic() - started < 5


def work(initialise, ready):
    torch.set_num_threads(1)
    initialise(0)
    ready.set()
    while True:
        time.sleep(0.05)


@pytest.fixture
def worker():
    """Worker process with its signals set up, and their owner."""
    fork = multiprocessing.get_context("fork")
    signals, ready = WorkerSignals(), fork.Event()
    process = fork.Process(target=work, args=(signals.initialiser(None), ready), daemon=True)
    process.start()
    assert ready.wait(30)
    yield process, signals
    process.kill()


def test_a_worker_goes_on_after_signals_until_the_run_has_ended(worker):
    process, signals = worker
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(process.pid, number)
    process.join(0.6)
    assert process.is_alive()
    signals.end()
    process.join(10)
    assert not process.is_alive()


def test_a_worker_that_is_ended_after_the_run_goes_at_once(worker):
    process, signals = worker
    signals.end()
    process.terminate()
    process.join(10)
    assert not process.is_alive()
