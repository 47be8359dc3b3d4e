"""DiffMatte by the published command: independent of order and processes."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import inference
from engine.build import build_model

REPOSITORY = Path(inference.__file__).parent
CONFIG = REPOSITORY / "configs" / "DiffMatte_ViTS.py"
TINY = [
    "model.backbone.embed_dim=48",
    "model.backbone.depth=3",
    "model.backbone.global_blocks=[2]",
    "model.decoder.down_channels=[7,8,8,8]",
    "model.decoder.up_channels=[48,8,8,8,8]",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("tiny") / "tiny.pth"
    torch.save({"model": build_model(CONFIG, TINY).state_dict()}, path)
    return path


def write_dataset(root: Path, names: list[str]) -> Path:
    """A folder of images whose content depends on their names."""
    for name in names:
        rng = np.random.default_rng(ord(name))
        trimap = np.full((50, 40), 128, np.uint8)
        trimap[:9], trimap[-9:] = 0, 255
        for folder, pixels in (("merged", rng.integers(0, 256, (50, 40, 3), dtype=np.uint8)), ("trimaps", trimap)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / folder / f"{name}.png"), pixels)
    return root


def command(checkpoint, data, output, strategy):
    arguments = {
        "--config-dir": CONFIG,
        "--checkpoint-dir": checkpoint,
        "--inference-dir": output,
        "--data-dir": data,
        "--sample-strategy": strategy,
        "--device": "cpu",
    }
    return [str(part) for pair in arguments.items() for part in pair] + TINY


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


@pytest.mark.parametrize("strategy", ["ddim1", "ddim10", "ddpm2"])
def test_files_depend_neither_on_order_nor_on_processes(tmp_path, checkpoint, strategy):
    together = write_dataset(tmp_path / "together", ["a", "b", "c"])
    assert inference.main(command(checkpoint, together, tmp_path / "first", strategy)) == 0
    expected = files(tmp_path / "first")
    assert list(expected) == ["a.png", "b.png", "c.png"]

    # another order and split: two processes at once, into one folder
    parts = [write_dataset(tmp_path / "one", ["c"]), write_dataset(tmp_path / "two", ["b", "a"])]
    if strategy == "ddim10":
        other = [sys.executable, "inference.py", *command(checkpoint, parts[0], tmp_path / "second", strategy)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(other, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL) as process:
            assert inference.main(command(checkpoint, parts[1], tmp_path / "second", strategy)) == 0
            assert process.wait() == 0
    else:
        for part in parts:
            assert inference.main(command(checkpoint, part, tmp_path / "second", strategy)) == 0
    assert files(tmp_path / "second") == expected


def test_strategies_give_different_mattes_and_senseless_ones_are_refused(tmp_path, checkpoint, caplog):
    data = write_dataset(tmp_path / "data", ["a"])
    for strategy in ("ddim1", "ddim2"):
        assert inference.main(command(checkpoint, data, tmp_path / strategy, strategy)) == 0
    assert files(tmp_path / "ddim1") != files(tmp_path / "ddim2")
    assert inference.main(command(checkpoint, data, tmp_path / "none", "ddim")) == 2
    assert "ddim10" in caplog.records[-1].getMessage()
    assert not list((tmp_path / "none").glob("*.png"))
