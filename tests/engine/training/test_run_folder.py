"""Output folder of a run: locked, never overwritten, resumed safely."""

import errno
import multiprocessing
import os
import time

import pytest
import torch
from torch import nn

from data.files import writing
from engine.training import session
from engine.training.checkpoint import AtomicCheckpointer
from engine.training.run_folder import POINTER, check_run_folder, checkpoint_to_resume, locked
from modeling.checkpoints.files import CheckpointError
from tests.engine.training.test_trainer import tiny


@pytest.fixture
def folder(tmp_path):
    """Three numbered checkpoints, of which the last one is pointed to."""
    checkpointer = AtomicCheckpointer(nn.Linear(40, 40), str(tmp_path), {})
    for iteration in (1, 3, 5):
        checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        os.utime(tmp_path / f"model_{iteration:07d}.pth", (iteration, iteration))
    return tmp_path


def flip(path):
    """Change two bytes of the weights; the file stays loadable."""
    data = bytearray(path.read_bytes())
    place = data.index(torch.load(path, weights_only=True)["model"]["weight"].numpy().tobytes()) + 100
    data[place] ^= 0xFF
    data[place + 1] ^= 0xFF
    path.write_bytes(data)
    torch.load(path, weights_only=True)


def test_a_worker_that_outlives_its_run_does_not_keep_the_folder(tmp_path):
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    worker = fork.Process(target=lambda: (ready.set(), time.sleep(60)), daemon=True)
    with locked(tmp_path):
        worker.start()
        assert ready.wait(30)
    with locked(tmp_path):  # given back although the worker lives
        assert worker.is_alive()
    worker.kill()


def test_flipped_bytes_are_noticed_and_the_checkpoint_before_is_taken(folder, caplog):
    flip(folder / "model_0000005.pth")
    assert checkpoint_to_resume(folder, resume=True).name == "model_0000003.pth"
    assert "model_0000005.pth is damaged (its part" in caplog.text and "does not match its checksum" in caplog.text
    (folder / "model_0000003.pth").write_bytes((folder / "model_0000003.pth").read_bytes()[:-50])
    assert checkpoint_to_resume(folder, resume=True).name == "model_0000001.pth"
    flip(folder / "model_0000001.pth")
    with pytest.raises(CheckpointError, match="no earlier checkpoint is intact"):
        checkpoint_to_resume(folder, resume=True)


def test_later_checkpoints_than_the_pointed_one_are_left_alone(folder):
    (folder / POINTER).write_text("model_0000003.pth")
    flip(folder / "model_0000003.pth")
    assert checkpoint_to_resume(folder, resume=True).name == "model_0000001.pth"


def test_checkpoints_without_a_pointer_are_resumed_from_and_never_overwritten(folder, caplog):
    (folder / POINTER).unlink()
    assert checkpoint_to_resume(folder, resume=True).name == "model_0000005.pth"
    assert "last_checkpoint is missing: resuming from the newest checkpoint, model_0000005.pth" in caplog.text
    with pytest.raises(ValueError, match="holds a run already: add --resume"):
        checkpoint_to_resume(folder, resume=False)


def test_a_second_training_in_the_same_folder_is_refused(tmp_path):
    with locked(tmp_path):
        with pytest.raises(ValueError, match="another training writes there"):
            session.train(tiny(tmp_path), "tiny", resume=False)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("name", ["log.txt", "metrics.json", "last_checkpoint", "model_0000001.pth", ".lock"])
@pytest.mark.parametrize("kind", ["pipe", "link to the kernel"])
def test_a_folder_with_pipes_in_the_place_of_its_files_is_refused(tmp_path, name, kind):
    """Opening one would wait for ever."""
    os.mkfifo(tmp_path / name) if kind == "pipe" else (tmp_path / name).symlink_to("/proc/kmsg")
    with pytest.raises(ValueError, match=rf"{name}: is a folder, a pipe or a device, not a file"):
        check_run_folder(tmp_path)


def test_other_folders_are_taken(folder):
    (folder / "events").mkdir()
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    for place in (folder, folder / "new"):
        check_run_folder(place)


class FullDisk:
    """A file on a disk with room for 5,000 bytes."""

    def __init__(self, file):
        self.file, self.left = file, 5000

    def write(self, data):
        self.left -= len(data)
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_names_the_checkpoint(tmp_path, monkeypatch):
    open_temporary = writing._open_temporary
    monkeypatch.setattr(writing, "_open_temporary", lambda folder: FullDisk(open_temporary(folder)))
    with pytest.raises(OSError, match="No space left on device") as error:
        AtomicCheckpointer(nn.Linear(100, 100), str(tmp_path), {}).save("model_final", iteration=1)
    assert error.value.errno == errno.ENOSPC and error.value.filename == str(tmp_path / "model_final.pth")
    assert not list(tmp_path.iterdir())
