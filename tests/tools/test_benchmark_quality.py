"""Quality table end to end, with untrained networks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.build import build_model
from tests.data.folders import disc, waves, write
from tools import benchmark_quality
from tools.quality import run as quality_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    alpha = disc(70, 90)
    for name in ("a", "b"):
        write(tmp_path / "set/image" / f"{name}.png", waves(70, 90, ord(name)))
        write(tmp_path / "set/alpha" / f"{name}.png", alpha)
        trimap = np.where(alpha == 0, 0, np.where(alpha == 255, 255, 128)).astype(np.uint8)
        write(tmp_path / "set/trimap" / f"{name}.png", trimap if name == "a" else np.minimum(trimap, 128))
    for name in ("MEMatte_T", "ViTMatte_T"):
        torch.manual_seed(0)
        save_file(build_model(ROOT / f"configs/{name}.py").state_dict(), tmp_path / f"{name}.safetensors")
    return tmp_path


def measure(root: Path) -> int:
    return benchmark_quality.main(
        [
            "--data-dir",
            str(root / "set"),
            "--output",
            str(root / "out/quality.json"),
            "--threads",
            "1",
            "--student",
            str(root / "MEMatte_T.safetensors"),
            "--teacher",
            str(root / "ViTMatte_T.safetensors"),
        ]
    )


class Here:
    """An executor that works in this process."""

    def __init__(self, workers: int, context: object) -> None:
        pass

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, work, *args):
        self.result = lambda: work(*args)
        return self


def test_every_method_gets_its_row(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(benchmark_quality, "ProcessPoolExecutor", Here)
    assert measure(root) == 0
    printed = capsys.readouterr().out
    for label in ("closed-form", "KNN", "ViTMatte-T", "MEMatte-T, 25 %", "MEMatte-T, all tokens", "MEMatte-T, 5 %"):
        assert f"| {label} |" in printed
    assert "means over 1 of 2 images" in printed  # the classical ones need known foreground
    results = json.loads((root / "out/quality.json").read_text())["results"]
    assert "needs known foreground" in results["KNN"]["images"]["b"]["error"]
    assert results["closed-form"]["images"]["a"]["sad"] < 0.3
    every = results["MEMatte-T, all tokens"]["images"]["a"]["kept"]
    assert len(every) == 4 and all(block["known"][0] == block["known"][1] for block in every)
    monkeypatch.setattr(quality_run, "measure", None)  # nothing is measured twice
    assert measure(root) == 0
    assert capsys.readouterr().out == printed


def test_other_settings_need_another_file(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "out").mkdir()
    (root / "out/quality.json").write_text('{"settings": {"dtype": "bf16"}, "results": {}}')
    assert measure(root) == 2
    assert "was measured with other settings" in caplog.text
