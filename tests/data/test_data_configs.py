"""The data configurations build loaders whose settings are the published defaults."""

from pathlib import Path

import numpy as np
import pytest

from data.training.crops import CompositionSettings
from data.training.sources import ROOT_VARIABLE, MixedForegrounds
from tests.data.folders import disc, make_dim, waves, write

detectron2_config = pytest.importorskip("detectron2.config")
COMMON = Path(__file__).resolve().parents[2] / "configs" / "common"


@pytest.mark.parametrize("name", ["dim", "uhr395", "mixed", "cutouts"])
def test_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for root in ("DIM", "UHR-395/train"):
        make_dim(tmp_path / root)
    for number in range(2):
        write(tmp_path / "train2014" / f"{number}.jpg", waves(100, 120))
        write(tmp_path / "backgrounds" / f"{number}.jpg", waves(100, 120))
        write(tmp_path / "cutouts" / f"{number}.png", np.dstack([waves(90, 80), disc(90, 80)]))
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    config = detectron2_config.LazyConfig.load(str(COMMON / "data" / f"{name}.py")).dataloader.train
    config.batch_size, config.num_workers = 2, 0
    loader = detectron2_config.instantiate(config)
    assert loader.dataset.settings == CompositionSettings()
    assert isinstance(loader.dataset.foregrounds, MixedForegrounds) == (name == "mixed")
    batch = next(iter(loader))
    assert batch["image"].shape == (2, 3, 512, 512) and len(batch["name"]) == 2
