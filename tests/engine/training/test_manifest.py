"""Manifest of a run, and its uses: repeating, comparing and resuming."""

import json
import logging
import re
import subprocess
from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate

import train
from engine.build import load_config
from engine.training import manifest, session
from tests.engine.shrunk import leave_checkpoint
from tests.engine.synthetic import Composites
from tests.engine.training.test_trainer import curve, tiny
from tests.test_train import assert_same

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not in a git clone")
def test_the_commit_is_that_of_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # wherever the program was started
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert re.fullmatch(f"{head.stdout.strip()}(-dirty)?", manifest.commit())


def test_no_commit_is_known_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert manifest.commit() is None


def test_a_tag_does_not_hide_the_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init")
    git("commit", "--allow-empty", "--no-gpg-sign", "-m", "first")
    git("tag", "--no-sign", "-a", "v1", "-m", "v1")
    monkeypatch.setattr(manifest, "__file__", str(tmp_path / "manifest.py"))
    assert manifest.commit() == git("rev-parse", "HEAD")


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps with an override."""
    folder = tmp_path_factory.mktemp("manifest") / "run"
    overrides = ["train.max_iter=2", "optimizer.params.lr=1e-3", "train.image_period=1000"]
    assert session.train(tiny(folder, *overrides), "tiny", False, overrides)
    return folder


def saved(folder: Path) -> dict:
    return torch.load(folder / "model_final.pth", weights_only=True)


def test_the_manifest_tells_what_made_a_run(first_run: Path) -> None:
    manifest = json.loads((first_run / "manifest.json").read_text())
    assert manifest["config"] == "tiny" and "optimizer.params.lr=1e-3" in manifest["overrides"]
    assert manifest["settings"]["optimizer"]["params"]["lr"] == 1e-3
    assert manifest["settings"]["lr_multiplier"]["max_iter"] == "${train.max_iter}"
    assert manifest["versions"]["torch"] and manifest["device"].startswith("cpu") and manifest["processes"] == 1
    assert {"setup", "steps", "checkpoints"} <= manifest["seconds"].keys()
    in_checkpoint = saved(first_run)["description"]
    assert {**in_checkpoint, "seconds": 0} == {**manifest, "seconds": 0}


def test_a_run_repeated_from_its_config_is_the_same_to_the_bit(first_run: Path, tmp_path: Path) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    train.main(["--config-file", str(first_run / "config.yaml"), f"train.output_dir={tmp_path / 'again'}"])
    root.handlers[:], root.level = handlers, level
    assert_same(*(saved(folder)["model"] for folder in (first_run, tmp_path / "again")))
    assert curve(tmp_path / "again") == curve(first_run)
    assert saved(tmp_path / "again")["description"]["config"] == "tiny"


@pytest.mark.parametrize(
    "name", ["MEMatte_S_realworld", "MEMatte_S_finetune", "MEMatte_T", "DiffMatte_SwinT", "MEDiffMatte_S", "AEMatter"]
)
def test_a_config_comes_back_from_the_file_that_a_run_leaves(name: str, tmp_path: Path) -> None:
    path = ROOT / "configs" / f"{name}.py"
    config = load_config(path)
    manifest.write_manifest({"config": path.stem, "settings": manifest.describe(config, resolve=False)}, tmp_path)
    again = load_config(tmp_path / "config.yaml", ["train.max_iter=77"])
    assert again.pop("config_name") == path.stem and again.train.max_iter == 77
    if "max_iter" in again.lr_multiplier:
        assert again.lr_multiplier.max_iter == 77
    again.train.max_iter = config.train.max_iter
    assert manifest.describe(again) == manifest.describe(config)
    instantiate(again.criterion), instantiate(again.lr_multiplier)
    with torch.device("meta"):
        instantiate(again.model)


def test_differences_name_the_key_and_both_values() -> None:
    old = {"a": {"b": 1, "c": [1, 2]}, "same": "${a.b}", "gone": None}
    new = {"a": {"b": 2, "c": [1, 2, 3]}, "same": 1}
    assert manifest.differences(old, new) == [
        ("a.b", 1, 2),
        ("gone", None, manifest.ABSENT),
        ("a.c.2", manifest.ABSENT, 3),
    ]


def resumed(first_run: Path, folder: Path, *overrides: str) -> tuple:
    leave_checkpoint(first_run, folder, "model_final.pth")
    settings = ("train.max_iter=3", "optimizer.params.lr=1e-3", "train.image_period=1000")
    return session.prepare(tiny(folder, *settings, *overrides), "tiny", resume=True)


def test_a_resumed_run_takes_new_rates_and_says_so(
    first_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer, start = resumed(first_run, tmp_path / "run", "optimizer.params.lr=1e-5", "train.total_batch_size=4")
    assert start == 2
    assert "optimizer.params.lr was 0.001 in this run, and is 1e-05 from here on" in caplog.messages
    assert "train.total_batch_size was 2 in this run, and is 4 from here on" in caplog.messages
    assert "train.max_iter was 2 in this run, and is 3 from here on" in caplog.messages
    assert not any("output_dir" in message for message in caplog.messages)
    trainer.train(start, 3)
    assert max(group["initial_lr"] for group in trainer.optimizer.param_groups) == 1e-5
    assert max(group["lr"] for group in trainer.optimizer.param_groups) <= 1e-5
    (earlier,) = trainer.manifest["earlier"]
    assert earlier["until_iteration"] == 1


def test_a_resumed_run_names_folders_whose_files_changed(
    first_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_checkpoint(first_run, tmp_path / "run", "model_final.pth")
    checkpoint = tmp_path / "run" / "model_final.pth"
    state = torch.load(checkpoint, weights_only=True)
    state["description"]["files"] = [{"root": "/data/fg", "files": 2, "sha256": "a"}]
    torch.save(state, checkpoint)
    sources = [{"root": "/data/fg", "files": 3, "sha256": "b"}]
    monkeypatch.setattr(Composites, "sources", lambda self: sources)
    trainer, _ = session.prepare(tiny(tmp_path / "run", "train.max_iter=3"), "tiny", resume=True)
    assert "the training files are not those of this run so far in /data/fg" in caplog.messages
    assert trainer.manifest["earlier"][-1]["files"][0]["sha256"] == "a"


def test_a_resumed_run_refuses_another_seed(first_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.seed was 0 in this run and cannot become 5: start another run"):
        resumed(first_run, tmp_path / "run", "train.seed=5")
