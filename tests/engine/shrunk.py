"""Configs with networks that train in seconds, on synthetic composites."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from omegaconf import DictConfig

from engine.build import load_config
from engine.training.run_folder import POINTER
from tests.engine.synthetic import build_loader

CONFIGS = Path(__file__).parents[2] / "configs"

VIT = (
    "model.backbone.embed_dim=32",
    "model.backbone.depth=4",
    "model.backbone.num_heads=2",
    "model.backbone.window_size=4",
    "model.backbone.global_blocks=[1,3]",
    "model.backbone.table_side=4",
    "model.backbone.pretrain_side=4",
    "model.decoder.down_channels=[7,8,16,16]",
    "model.decoder.up_channels=[32,16,16,8,8]",
)
DEEPER = "model.decoder.down_channels=[7,8,8,16,16]"
SMALLER = {
    "DiffMatte_ViTS": VIT,
    "MEDiffMatte_S": (*VIT, *(override.replace("model.backbone", "teacher") for override in VIT[:7])),
    "DiffMatte_SwinT": (
        "model.backbone.embed_dim=16",
        "model.backbone.num_heads=[1,2,4,8]",
        DEEPER,
        "model.decoder.up_channels=[128,16,16,16,8,8]",
    ),
    "DiffMatte_Res34": ("model.backbone.depths=[1,1,1,1]", DEEPER, "model.decoder.up_channels=[512,16,16,16,8,8]"),
}


def shrunk(name: str, output_dir: Path, *overrides: str, side: int = 64, length: int = 50) -> DictConfig:
    """Config with a small network, synthetic data and rare writing."""
    config = load_config(CONFIGS / f"{name}.py", SMALLER.get(name, ()))
    config.dataloader = dict(train=L(build_loader)(length=length, side=side, num_workers=0, broken_from=None))
    config.train.update(
        output_dir=str(output_dir),
        device="cpu",
        total_batch_size=2,
        log_period=1,
        image_period=10_000,
        checkpoint_period=10_000,
    )
    return LazyConfig.apply_overrides(config, list(overrides))


def lines(folder: Path) -> list[dict[str, Any]]:
    """Logged records of a run."""
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def leave_checkpoint(source: Path, folder: Path, name: str) -> None:
    """Make `folder` look like a run killed after one checkpoint.

    The checkpoint is `name` of the run in `source`.
    """
    folder.mkdir()
    shutil.copy(source / name, folder)
    (folder / POINTER).write_text(name)


def final(folder: Path) -> dict[str, Any]:
    """Last checkpoint of a run, without its description of the run."""
    content = torch.load(folder / "model_final.pth", weights_only=True)
    return {key: content[key] for key in ("model", "trainer", "random", "iteration")}
