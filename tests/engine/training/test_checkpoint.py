"""Checkpoints: safe against kills, with random states, read without running code."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engine.training.checkpoint import (
    AtomicCheckpointer,
    Checkpoints,
    random_state,
    restore_random_state,
    write_atomically,
)
from engine.training.manifest import PhaseClock
from engine.training.run_folder import POINTER
from modeling.checkpoints.weights import CheckpointError, read_state_dict

KILLS = 20


def write_forever(folder: str, start: int) -> None:
    """Save checkpoint after checkpoint, each full of its own number."""
    torch.set_num_threads(1)
    model = nn.Linear(512, 512)
    checkpointer = AtomicCheckpointer(model, folder, {})
    iteration = start
    while True:
        nn.init.constant_(model.weight, iteration)
        checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        iteration += 1


def newest(folder: Path) -> tuple[int, dict]:
    path = folder / (folder / POINTER).read_text()
    return int(path.stem.removeprefix("model_")), torch.load(path, weights_only=True)


def test_a_kill_at_any_moment_leaves_the_newest_checkpoint_loadable(tmp_path):
    fork = multiprocessing.get_context("fork")
    chance = random.Random(0)
    pointer, pointed, reached = tmp_path / POINTER, "", -1
    for _ in range(KILLS):
        process = fork.Process(target=write_forever, args=(str(tmp_path), reached + 1))
        process.start()
        deadline = time.monotonic() + 30
        while (not pointer.exists() or pointer.read_text() == pointed) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        iteration, checkpoint = newest(tmp_path)
        assert iteration > reached and checkpoint["iteration"] == iteration
        assert (checkpoint["model"]["weight"] == iteration).all()
        pointed, reached = pointer.read_text(), iteration


def test_leftovers_of_a_kill_are_cleared_and_old_checkpoints_deleted(tmp_path):
    (tmp_path / f".{32 * 'a'}.tmp").write_bytes(b"half")
    checkpointer = AtomicCheckpointer(nn.Linear(2, 2), str(tmp_path), {})
    hook = Checkpoints(checkpointer, period=2, max_to_keep=2)
    hook.trainer = type("Trainer", (), {"iter": 0, "max_iter": 100, "stopping": False, "clock": PhaseClock({})})()
    hook.before_train()
    for hook.trainer.iter in range(8):
        hook.after_step()
    checkpointer.save("model_best", tag=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        POINTER,
        "model_0000005.pth",
        "model_0000007.pth",
        "model_best.pth",
    ]
    assert (tmp_path / POINTER).read_text() == "model_0000007.pth"


def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"new")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_random_states_come_back():
    def draw():
        return random.random(), np.random.rand(), torch.rand(3).tolist(), random.gauss(0, 1), np.random.randn()  # noqa: NPY002

    draw()  # leaves half of a pair of normal numbers behind
    state = random_state()
    wanted = draw()
    draw()
    restore_random_state(state)
    assert draw() == wanted


def test_a_checkpoint_restores_its_random_state_and_serves_inference(tmp_path):
    model = nn.Linear(3, 3)
    AtomicCheckpointer(model, str(tmp_path), {"config": "x"}).save("model_final", iteration=7)
    wanted = torch.rand(3)
    other = nn.Linear(3, 3)
    rest = AtomicCheckpointer(other, str(tmp_path), {}).load(str(tmp_path / "model_final.pth"))
    assert rest["iteration"] == 7 and rest["description"] == {"config": "x"}
    assert torch.equal(torch.rand(3), wanted) and torch.equal(other.weight, model.weight)
    assert torch.equal(read_state_dict(tmp_path / "model_final.pth")["weight"], model.weight)


def test_another_model_is_refused(tmp_path):
    AtomicCheckpointer(nn.Linear(3, 3), str(tmp_path), {}).save("model_final")
    with pytest.raises(CheckpointError, match=r"misshapen: weight \(3, 3\) instead of \(3, 4\)"):
        AtomicCheckpointer(nn.Linear(4, 3), str(tmp_path), {}).load(str(tmp_path / "model_final.pth"))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(50)])
def test_damaged_checkpoints_to_resume_from_are_told_in_one_line(tmp_path, content):
    (tmp_path / "model_final.pth").write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        AtomicCheckpointer(nn.Linear(3, 3), str(tmp_path), {}).load(str(tmp_path / "model_final.pth"))
    assert str(error.value).isprintable() and "model_final.pth" in str(error.value)


@pytest.mark.parametrize(
    "more", [{}, {"iteration": "3", "description": {}}, {"iteration": 3}, {"random": [{"torch": 1}]}]
)
def test_checkpoints_that_lack_the_state_of_a_run_are_refused(tmp_path, more):
    model = nn.Linear(3, 3)
    torch.save({"model": model.state_dict(), **more}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: no run can go on from this checkpoint .* name another one"):
        AtomicCheckpointer(model, str(tmp_path), {}).load(str(tmp_path / "a.pth"))
