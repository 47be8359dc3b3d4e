"""The command line: kills and resumes, signals, several processes, and one-line errors."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import train
from engine.build import load_config
from engine.training import session
from engine.training.processes import STOPPING, launch
from engine.training.session import build_loader
from tests.engine.waiting import killed_while_the_other_waits

ROOT = Path(__file__).parents[1]
TINY = "tests/engine/training/tiny.py"
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def one_thread():
    """As many as the processes that tests start."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def start(output_dir, *args, launcher=(sys.executable,), config=TINY):
    command = [*launcher, "train.py", "--config-file", config, *args, f"train.output_dir={output_dir}"]
    return subprocess.Popen(command, cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process):
    """(exit code, what it wrote to stderr)."""
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def wait_for(path, process, lines=0):
    deadline = time.monotonic() + 120
    while not path.exists() or not path.stat().st_size or path.read_bytes().count(b"\n") < lines:
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.01)


def assert_same(left, right):
    """Equal to the bit, through nested containers."""
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same(a, b)
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    else:
        assert left == right


def final(folder):
    return torch.load(folder / "model_final.pth", weights_only=True)


def test_a_killed_and_resumed_run_equals_an_uninterrupted_one_to_the_bit(tmp_path, one_thread):
    killed = start(tmp_path / "killed", "dataloader.train.num_workers=1", "train.max_iter=20")
    wait_for(tmp_path / "killed" / "last_checkpoint", killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "killed" / "model_final.pth").exists()
    assert (tmp_path / "killed" / "last_checkpoint").read_text() == "model_0000009.pth"

    for folder, resume in (("killed", True), ("whole", False)):
        assert session.train(load_config(ROOT / TINY, [f"train.output_dir={tmp_path / folder}"]), "tiny", resume)
    wanted, found = final(tmp_path / "whole"), final(tmp_path / "killed")
    for key in ("model", "trainer", "random", "iteration"):
        assert_same(wanted[key], found[key])


def test_both_launchers_train_the_same_and_end_on_sigterm_after_a_checkpoint(tmp_path):
    endless = ("train.max_iter=100000", "train.checkpoint_period=100000", "dataloader.train.num_workers=1")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    launched = start(tmp_path / "launch", "--num-gpus", "2", *endless)
    other = start(tmp_path / "torchrun", *endless, launcher=torchrun)
    for process, folder in ((launched, "launch"), (other, "torchrun")):
        wait_for(tmp_path / folder / "metrics.json", process, lines=3)
        process.send_signal(signal.SIGTERM)
    code, errors = finish(launched)
    assert code == 0, errors
    finish(other)  # torchrun itself always reports the signal

    for folder in ("launch", "torchrun"):
        last = (tmp_path / folder / "last_checkpoint").read_text()
        checkpoint = torch.load(tmp_path / folder / last, weights_only=True)
        assert last == f"model_{checkpoint['iteration']:07d}.pth" and len(checkpoint["random"]) == 2
    first, second = (metrics(tmp_path / folder)[:3] for folder in ("launch", "torchrun"))
    assert [line["iteration"] for line in first] == [0, 1, 2]
    assert first == second and "total_loss" in first[0]


def test_a_process_that_is_killed_ends_the_run():
    handlers = {number: signal.getsignal(number) for number in STOPPING}
    with pytest.raises(ConnectionError, match="process 1 ended by SIGKILL"):
        launch(killed_while_the_other_waits, (), processes=2, machines=1, machine=0, url="auto")
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("[/third_party/gloo/transport/tcp/pair.cc:547] Connection closed by peer"), "process of the run"),
        (ConnectionError("lost"), "process of the run"),
        (KeyboardInterrupt(), "interrupted before the first step"),
        (RuntimeError("no idea"), "log.txt says where"),
    ],
)
def test_errors_of_any_kind_end_with_code_1_and_a_line(monkeypatch, caplog, error, message):
    def fail(args):
        raise error

    monkeypatch.setattr(train, "work", fail)
    with pytest.raises(SystemExit) as exit_:
        train.work_guarded(None)
    assert exit_.value.code == 1 and message in caplog.text


def test_the_command_line_is_understood_without_heavy_libraries():
    imported = "import sys, train; train.build_parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", imported], cwd=ROOT).returncode == 0


def metrics(folder):
    """Lines of metrics.json, without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    clock = ("time", "data_wait", "images_per_second")
    return [{key: value for key, value in line.items() if not any(word in key for word in clock)} for line in lines]


def test_an_error_in_one_of_several_processes_is_one_line(tmp_path):
    code, errors = finish(start(tmp_path, "--num-gpus", "2", "train.log_period=0"))
    assert code == 2 and "ERROR: train.log_period is 0" in errors and "Traceback" not in errors


def test_a_batch_that_its_processes_cannot_share_is_refused(monkeypatch):
    monkeypatch.setattr("engine.training.session.comm.get_world_size", lambda: 2)
    with pytest.raises(ValueError, match=r"train.total_batch_size=3 cannot be shared by 2 processes: take a multiple"):
        build_loader(load_config(ROOT / TINY, ["train.total_batch_size=3"]), 0, torch.device("cpu"))


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["train.max_itr=3"], 2, "did you mean 'train.max_iter'"),
        (["train.init_checkpoint=nowhere.pth"], 2, "nowhere.pth: no such checkpoint file"),
        (["train.device=tpu"], 2, "use auto, cpu, cuda"),
        (["--eval-only"], 2, "set train.validation_root"),
        (["train.log_period=0"], 2, "train.log_period is 0"),
        (["dataloader.train.broken_from=0"], 1, "nonfinite_batch_rank0.json"),
    ],
)
def test_errors_are_one_line(tmp_path, caplog, capsys, args, code, message):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with pytest.raises(SystemExit) as exit_:
        train.main(["--config-file", str(ROOT / TINY), *args, f"train.output_dir={tmp_path}"])
    assert exit_.value.code == code
    root.handlers[:], root.level = handlers, level  # the script had set up its own
    errors = caplog.text + capsys.readouterr().err
    assert message in errors and "Traceback" not in errors


def test_wrong_arguments():
    several = ["--num-machines", "2", "--dist-url"]
    for args in (
        ["--num-gpus", "0"],
        ["--num-gpus", "99999"],
        ["--machine-rank", "1"],
        several[:2],
        [*several, "host:29500"],
        [*several, "tcp://host"],
        [*several, "tcp://host:99999"],
    ):
        with pytest.raises(SystemExit) as exit_:
            train.main(["--config-file", TINY, *args])
        assert exit_.value.code == 2


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"])
@pytest.mark.parametrize("value", ["x", None])
def test_an_environment_that_makes_no_sense_is_one_line(monkeypatch, caplog, tmp_path, name, value):
    for key in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(key, "0")
    for key in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(key, "2")
    monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    if name == "LOCAL_RANK" and not value:
        return  # then it is no launcher's
    with pytest.raises(SystemExit) as exit_:
        train.main(["--config-file", str(ROOT / TINY), f"train.output_dir={tmp_path}"])
    assert exit_.value.code == 2 and f"{name} in the environment" in caplog.messages[-1]


def test_an_output_folder_that_cannot_be_made_is_one_line(tmp_path, caplog):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as exit_:
        train.main(["--config-file", str(ROOT / TINY), f"train.output_dir={tmp_path / 'file' / 'run'}"])
    assert exit_.value.code == 1
    assert "cannot be read or written (Not a directory)" in caplog.messages[-1]


def test_settings_without_an_output_folder_are_refused(caplog):
    with pytest.raises(SystemExit) as exit_:
        train.main(["--config-file", str(ROOT / TINY), "train=5"])
    assert exit_.value.code == 2 and "have no train.output_dir" in caplog.messages[-1]
