"""Training configs: complete, independent of data, trained on folders as stated."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import instantiate

from data.training.sources import ROOT_VARIABLE
from engine.build import load_config
from engine.training import session as run
from engine.training.manifest import describe
from modeling.checkpoints.weights import read_state_dict
from tests.engine.training.test_trainer import TINY

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*atte_[SBT]*.py"))
TRAINABLE = [path for path in CONFIGS if path.name.startswith(("MEMatte", "ViTMatte"))]


@pytest.mark.parametrize("path", TRAINABLE, ids=lambda path: path.stem)
def test_a_config_is_complete_without_data(path, monkeypatch, tmp_path):
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    config = load_config(path)
    assert instantiate(config.lr_multiplier)(0.0) == pytest.approx(0.001)
    criterion = instantiate(config.criterion)
    assert hasattr(criterion, "keep_ratio") == path.name.startswith("MEMatte")
    assert Path(config.train.output_dir).name.startswith(path.stem.split("_")[0])
    with torch.device("meta"):  # without weights
        config.optimizer.params.model = model = instantiate(config.model)
        teacher = instantiate(config.teacher) if getattr(model, "distill", False) else None
    optimizer = instantiate(config.optimizer)
    tensors = sum(len(group["params"]) for group in optimizer.param_groups)
    assert tensors == len(list(model.parameters()))
    assert describe(config.dataloader.train)["_target_"] == "data.training.datasets.build_train_loader"
    if teacher is not None:
        assert teacher.embed_dim == model.backbone.embed_dim


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture
def data_root(tmp_path, monkeypatch):
    """DIM, UHR-395, COCO and cut-outs in miniature, where MATTING_DATA points."""
    random = np.random.default_rng(0)
    root = tmp_path / "data"
    for folder in ("DIM", "UHR-395/train"):
        for index in range(2):
            alpha = cv2.circle(np.zeros((160, 180), np.uint8), (80, 90), 50, 255, -1)
            write(root / folder / "fg" / f"{index}.jpg", random.integers(0, 255, (160, 180, 3), np.uint8))
            write(root / folder / "alpha" / f"{index}.png", cv2.GaussianBlur(alpha, (31, 31), 0))
    rgba = random.integers(0, 255, (160, 180, 4), np.uint8)
    write(root / "cutouts" / "a.png", rgba)
    for folder in ("train2014", "backgrounds"):
        for index in range(3):
            write(root / folder / f"{index}.jpg", random.integers(0, 255, (150, 170, 3), np.uint8))
    monkeypatch.setenv(ROOT_VARIABLE, str(root))


@pytest.mark.parametrize(
    "name", ["MEMatte_S_topk0.25_win_global_long", "MEMatte_B_UHR395", "MEMatte_S_realworld", "MEMatte_S_finetune"]
)
def test_a_config_trains_on_its_folders(tmp_path, data_root, name):
    config = load_config(TINY, [f"train.output_dir={tmp_path / 'run'}", "train.max_iter=2"])
    published = load_config(TRAINABLE[0].with_name(f"{name}.py"), ["dataloader.train.num_workers=0"])
    config.dataloader = published.dataloader
    config.dataloader.train.dataset.settings.crop.size_px = 64
    assert run.train(config, name, resume=False)
    assert '"skipped/bad file": 0' in (tmp_path / "run" / "metrics.json").read_text()
    description = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)["description"]
    assert description["config"] == name and "data.training.datasets.MattingDataset" in str(description["data"])


def test_the_shipped_model_is_fine_tuned_on_cutouts_alone(tmp_path, data_root, monkeypatch):
    """Weights stay close to the file; statistics of norms stay equal."""
    monkeypatch.chdir(ROOT)
    settings = ["train.max_iter=2", "train.total_batch_size=1", "dataloader.train.num_workers=0"]
    settings += [f"train.output_dir={tmp_path / 'run'}", "dataloader.train.dataset.settings.crop.size_px=64"]
    assert run.train(load_config(ROOT / "configs" / "MEMatte_T_finetune.py", settings), "MEMatte_T_finetune", False)
    before = read_state_dict(ROOT / "weights" / "MEMatte_T.safetensors")
    after = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)["model"]
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        distance = (after[name].float() - tensor.float()).norm() / tensor.float().norm().clamp(min=1)
        assert distance == 0 if "running" in name else distance < 0.01, name
    assert any(not torch.equal(after[name], tensor.float()) for name, tensor in before.items())


def test_missing_data_is_refused_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    config = load_config(TINY, [f"train.output_dir={tmp_path / 'run'}"])
    config.dataloader = load_config(TRAINABLE[0]).dataloader
    with pytest.raises(ValueError, match="no such folder"):
        run.train(config, "tiny", resume=False)
