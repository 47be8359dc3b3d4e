"""Differences between configs, runs and checkpoints, by key."""

from pathlib import Path

import pytest
import torch

from engine.build import load_config
from engine.training.manifest import describe, write_manifest
from tools.config_diff import main

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TINY = Path(__file__).resolve().parents[1] / "engine" / "training" / "tiny.py"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Files of a run with two overrides: config and checkpoint."""
    config = load_config(TINY, ["optimizer.params.lr=1e-3", "train.max_iter=7"])
    manifest = {"config": "tiny", "settings": describe(config, resolve=False)}
    write_manifest(manifest, tmp_path)
    torch.save({"model": {}, "description": manifest}, tmp_path / "model_final.pth")
    return tmp_path


@pytest.mark.parametrize("name", ["", "config.yaml", "model_final.pth"])
def test_runs_and_checkpoints_against_a_config(run: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    assert main([str(TINY), str(run / name)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "optimizer.params.lr: 0.0005 -> 0.001",
        "train.max_iter: 20 -> 7",
        "lr_multiplier.max_iter: 20 -> 7",
    ]
    assert main([str(run), str(run / name)]) == 0
    assert capsys.readouterr().out == ""


def test_configs_against_each_other(capsys: pytest.CaptureFixture) -> None:
    assert main([str(CONFIGS / "MEMatte_S_topk0.25_win_global_long.py"), str(CONFIGS / "MEMatte_S_UHR395.py")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "dataloader.train.dataset.crops_per_foreground: 1 -> 4" in lines and len(lines) < 8


@pytest.mark.parametrize("content", [None, b"no checkpoint"])
def test_what_holds_no_config_is_told_in_one_line(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.pth").write_bytes(content or b"")
    assert main([str(TINY), str(tmp_path / "a.pth" if content else tmp_path)]) == 2
    assert len(caplog.records) == 1 and str(tmp_path) in caplog.text
