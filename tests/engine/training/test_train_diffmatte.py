"""DiffMatte and MEDiffMatte training: schedules, stages, resume, learning, distillation."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.config import instantiate

from engine.build import load_config
from engine.training import session as run
from engine.training.optim import layer_factor, parameter_groups
from engine.training.validation import validate
from modeling.base import MattingNetwork
from modeling.checkpoints.weights import load_weights
from modeling.diffmatte import DiffMatte
from modeling.inference.predictor import Predictor
from tests.engine.shrunk import CONFIGS, final, leave_checkpoint, lines, shrunk
from tests.engine.synthetic import composite
from tests.test_train import assert_same

# iterations, checkpoint period, start of stage 2, milestones, values, base rate, side of crops
PUBLISHED = {
    "ViTS": (202031, 13468, 134687, [40406, 121218], [1, 0.1, 0.05], 5e-5, 512),
    "ViTB": (228968, 13468, 107750, [40406, 121218, 188562], [1, 0.1, 0.05, 0.01], 2.5e-4, 512),
    "ViTS_1024": (269375, 13468, 134687, [80812, 148156, 228968], [1, 0.1, 0.05, 0.01], 5e-5, 1024),
    "Res34": (161625, 10775, 107750, [32325, 96975, 150850], [1, 0.1, 0.05, 0.01], 4e-4, 512),
    "SwinT": (161625, 10775, 107750, [32325, 96975, 150850], [1, 0.1, 0.05, 0.01], 4e-4, 512),
}
TEN_STEPS = ("train.max_iter=10", "lr_multiplier.warmup_iters=2")


@pytest.fixture
def stages(monkeypatch):
    """The stage of each training step, in order; the models too."""
    seen = SimpleNamespace(stages=[], models=[])
    denoise = DiffMatte.denoise

    def recording(self, image, trimap, alpha, stage, **randomness):
        seen.stages.append(stage)
        seen.models.append(self)
        return denoise(self, image, trimap, alpha, stage, **randomness)

    monkeypatch.setattr(DiffMatte, "denoise", recording)
    return seen


@pytest.mark.parametrize("variant", PUBLISHED)
def test_published_schedules(variant):
    config = load_config(CONFIGS / f"DiffMatte_{variant}.py")
    train, steps, data = config.train, config.lr_multiplier, config.dataloader.train.dataset.settings
    assert (
        train.max_iter,
        train.checkpoint_period,
        config.model.self_align_stage2_step,
        list(steps.milestones),
        list(steps["values"]),
        config.optimizer.params.lr,
        data.crop.size_px,
    ) == PUBLISHED[variant]
    assert config.model.self_align_stage1_step is None and train.seed == 8282 and train.precision == "fp32"
    assert (steps.warmup_iters, steps.warmup_factor, config.optimizer.params.weight_decay) == (250, 0.001, 0.1)
    with torch.device("meta"):
        model = instantiate(config.model)
    config.optimizer.params.model = model
    groups = instantiate(config.optimizer).param_groups
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sum(len(group["params"]) for group in groups) == len(trainable)
    rates = {group["lr"] for group in groups}
    assert max(rates) == pytest.approx(PUBLISHED[variant][5])
    assert len(rates) == (14 if "ViT" in variant else 1)  # patches, twelve blocks, the rest


def test_rates_fall_with_depth_in_diffmattes_vit():
    names = (
        "model.backbone.pos_embed",
        "model.backbone.blocks.0.norm1.weight",
        "model.backbone.blocks.2.residual.x",
        "model.decoder.time_embed.0.weight",
    )
    assert [layer_factor(name, 12, 0.65) for name in names] == pytest.approx([0.65**13, 0.65**12, 1, 1])
    with pytest.raises(ValueError, match=r"numbered blocks of a ViT; this MattingNetwork has none: set it to null"):
        parameter_groups(MattingNetwork(), 1e-3, 0.1, layer_decay=0.65)


@pytest.mark.parametrize("name", ["DiffMatte_ViTS", "DiffMatte_SwinT", "DiffMatte_Res34"])
def test_a_step_of_each_stage_where_the_config_says(tmp_path, stages, name):
    starts = ("model.self_align_stage1_step=2", "model.self_align_stage2_step=3")
    assert run.train(shrunk(name, tmp_path, "train.max_iter=5", *starts), name, resume=False)
    assert stages.stages == ["plain", "plain", "self_align_1", "self_align_2", "self_align_2"]
    assert {"mse_loss", "unknown_l1_loss", "known_l1_loss", "loss_pha_laplacian", "loss_gradient_penalty"} <= lines(
        tmp_path
    )[-1].keys()
    unused = [name for name, part in stages.models[0].named_parameters() if part.requires_grad and part.grad is None]
    assert not unused  # which several processes would wait for


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(tmp_path, stages):
    settings = (*TEN_STEPS, "train.checkpoint_period=4", "model.self_align_stage2_step=6")
    assert run.train(shrunk("DiffMatte_ViTS", tmp_path / "whole", *settings), "x", resume=False)
    leave_checkpoint(tmp_path / "whole", tmp_path / "resumed", "model_0000003.pth")
    stages.stages.clear()
    assert run.train(shrunk("DiffMatte_ViTS", tmp_path / "resumed", *settings), "x", resume=True)
    assert stages.stages == ["plain"] * 2 + ["self_align_2"] * 4
    assert_same(final(tmp_path / "whole"), final(tmp_path / "resumed"))


def pixels(index=0, side=64):
    image, trimap, alpha = (part.numpy() for part in composite(index, side))
    return np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8), trimap[0], alpha[0]


def test_a_crop_is_learnt_by_heart(tmp_path):
    settings = (
        "train.max_iter=80",
        "lr_multiplier.milestones=[60]",
        "optimizer.params.lr=5e-3",
        "lr_multiplier.warmup_iters=10",
        "model.self_align_stage2_step=40",
    )
    config = shrunk("DiffMatte_ViTS", tmp_path, *settings, length=1)
    assert run.train(config, "x", resume=False)
    found = [line["total_loss"] for line in lines(tmp_path)]
    assert np.mean(found[-10:]) < 0.3 * np.mean(found[:10])
    model = instantiate(config.model)
    load_weights(model, tmp_path / "model_final.pth")
    image, trimap, alpha = pixels()
    error = np.abs(Predictor(model, device="cpu").predict(image, trimap, "a") - alpha).sum()
    assert error < 0.5 * np.abs(np.where(trimap == 128, 0.5, alpha) - alpha).sum()


def test_mediffmatte_learns_from_diffmatte_and_infers_within_its_bounds(tmp_path):
    assert run.train(shrunk("DiffMatte_ViTS", tmp_path / "dense", *TEN_STEPS), "x", resume=False)
    start = f"train.init_checkpoint={tmp_path / 'dense' / 'model_final.pth'}"
    config = shrunk("MEDiffMatte_S", tmp_path / "routed", *TEN_STEPS, start, "optimizer.params.lr=1e-3")
    assert run.train(config, "x", resume=False)
    last = lines(tmp_path / "routed")[-1]
    assert last["distill_loss"] > 0 and last["keep/target"] == 0.25
    assert {"mse_ratio_loss", "keep/router_1"} <= last.keys()
    teacher = torch.load(tmp_path / "dense" / "model_final.pth", weights_only=True)["model"]
    saved = torch.load(tmp_path / "routed" / "model_final.pth", weights_only=True)["model"]
    taught = {name for name in saved if name.startswith("teacher_")}
    assert len(taught) > 50
    assert all(torch.equal(saved[name], teacher["model." + name.removeprefix("teacher_")]) for name in taught)

    image, trimap, _ = pixels(1, 192)
    for bounds in ({"max_tokens": 3}, {"max_tokens": 3, "max_memory": "16GB"}):
        model = instantiate(config.model)
        load_weights(model, tmp_path / "routed" / "model_final.pth")
        result = Predictor(model, device="cpu", **bounds).run(image, trimap, "a")
        assert len(result.keep) == 2 and all(keep.sum() <= 3 for keep in result.keep)
        assert np.isfinite(result.alpha).all() and (result.alpha[trimap == 255] == 1).all()
    with pytest.raises(ValueError, match="memory"):
        Predictor(model, device="cpu", max_memory="1MB").run(image, trimap, "a")


def test_validation_draws_noise_by_the_names_of_the_images(tmp_path, monkeypatch):
    names = []
    monkeypatch.setattr(Predictor, "predict", lambda self, image, trimap, name="": names.append(name) or trimap / 255)
    monkeypatch.setattr("engine.training.validation.read_image", lambda path: None)
    monkeypatch.setattr("engine.training.validation.read_trimap", lambda path: pixels()[1])
    monkeypatch.setattr(
        "engine.training.validation.read_alpha", lambda path: np.rint(pixels()[2] * 255).astype(np.uint8)
    )
    pairs = [SimpleNamespace(name=name, image=None, trimap=None, alpha=None) for name in ("sub/a", "b")]
    validate(instantiate(shrunk("DiffMatte_ViTS", tmp_path).model), pairs, torch.device("cpu"))
    assert names == ["sub/a", "b"]


def test_half_precision(tmp_path):
    config = shrunk(
        "DiffMatte_ViTS", tmp_path, "train.max_iter=2", "train.precision=bf16", "model.self_align_stage2_step=1"
    )
    assert run.train(config, "x", resume=False)
    assert np.isfinite(lines(tmp_path)[-1]["total_loss"])
