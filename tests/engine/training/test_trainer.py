"""Small runs in this process: learning, kept-token ratio and stopping."""

import json
import math
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import instantiate

from engine.build import load_config
from engine.training import session as run
from engine.training.logits import bound_logits_
from engine.training.run_folder import POINTER
from engine.training.trainer import NonFiniteLoss, choose_precision
from modeling.checkpoints.weights import load_weights
from modeling.inference.predictor import Predictor
from tests.engine.synthetic import composite

TINY = Path(__file__).with_name("tiny.py")
# Matting terms are scaled for crops of 512 x 512 as published; on 64 x 64 they weigh 64 times as much.
FAST = (
    "train.max_iter=120",
    "lr_multiplier.milestones=[90]",
    "optimizer.params.lr=1e-2",
    "criterion.ratio_weight=64",
    "train.log_period=20",
    "train.image_period=1000",
    "train.checkpoint_period=1000",
)


def tiny(output_dir, *overrides):
    return load_config(TINY, [f"train.output_dir={output_dir}", *overrides])


def train(output_dir, *overrides):
    """Run to the end; returns the lines of metrics.json."""
    assert run.train(tiny(output_dir, *overrides), "tiny", resume=False)
    return [json.loads(line) for line in (output_dir / "metrics.json").read_text().splitlines()]


def curve(folder):
    """Lines of metrics.json without those figures that depend on the clock."""
    clock = ("time", "data_wait", "images_per_second")
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [{key: line[key] for key in line if not any(word in key for word in clock)} for line in lines]


def test_a_crop_is_learnt_by_heart(tmp_path):
    lines = train(tmp_path, *FAST, "dataloader.train.length=1")
    assert lines[-1]["total_loss"] < 0.35 * lines[0]["total_loss"]

    model = instantiate(tiny(tmp_path).model)
    load_weights(model, tmp_path / "model_final.pth")
    image, trimap, alpha = (part.numpy() for part in composite(0, 64))
    pixels = np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)
    error = np.abs(Predictor(model, device="cpu").predict(pixels, trimap[0]) - alpha[0])
    assert error.sum() / 1000 < 0.08  # SAD; 0.3 for alpha = 0.5 in the whole unknown region


@pytest.mark.parametrize("start", ["all kept", "none kept"])
def test_the_share_of_kept_tokens_reaches_its_target(tmp_path, monkeypatch, start):
    bias = {"all kept": [4.0, -4.0], "none kept": [-4.0, 4.0]}[start]
    build = run.build_network

    def biased(config, from_files):
        model = build(config, from_files)
        for router in model.backbone.routers:
            router.out_conv[-1].bias.data = torch.tensor(bias)
        return model

    monkeypatch.setattr(run, "build_network", biased)
    lines = train(tmp_path, *FAST, "train.max_iter=160", "lr_multiplier.milestones=[110]", "train.log_period=1")
    shares = [line["keep/total"] for line in lines]
    assert abs(shares[0] - (start == "all kept")) < 0.02
    assert abs(np.mean(shares[-40:]) - 0.25) < 0.03
    assert lines[-1]["keep/target"] == 0.25


def test_metrics_and_pictures_are_written(tmp_path):
    lines = train(tmp_path, "train.max_iter=4", "train.image_period=2000")
    assert {
        "total_loss",
        "unknown_l1_loss",
        "known_l1_loss",
        "loss_pha_laplacian",
        "loss_gradient_penalty",
        "mse_ratio_loss",
        "lr",
        "keep/router_0",
        "keep/router_1",
        "keep/total",
        "keep/target",
        "images_per_second",
        "data_wait",
        "time",
    } <= lines[-1].keys()
    assert [line["iteration"] for line in lines] == [0, 1, 2, 3]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path)).Reload()
    assert {"keep/router_1", "lr", "unknown_l1_loss"} <= set(events.Tags()["scalars"])
    (name,) = events.Tags()["images"]
    picture = events.Images(name)[-1]
    assert [each.step for each in events.Images(name)] == [0, 1, 2, 3]  # a run shorter than its period has some too
    assert (picture.width, picture.height) == (6 * 64, 2 * 64)  # image, trimap, alpha, prediction, two routing maps


def test_a_run_ends_its_worker_processes(tmp_path):
    train(tmp_path, "train.max_iter=2", "dataloader.train.num_workers=1")
    assert not multiprocessing.active_children()  # they would delay the end of a process by a minute, and fail it


def test_a_non_finite_loss_stops_the_run_and_names_the_files(tmp_path):
    with pytest.raises(NonFiniteLoss, match=r"nonfinite_batch_rank0\.json"):
        train(tmp_path, "dataloader.train.broken_from=0")
    record = json.loads((tmp_path / "nonfinite_batch_rank0.json").read_text())
    assert record["iteration"] == 0 and len(record["names"]) == 2 and record["names"][0].startswith("disc_")
    assert math.isnan(float(record["losses"]["unknown_l1_loss"]))
    assert not list(tmp_path.glob("*.pth"))


def test_a_step_that_overflows_in_half_precision_leaves_no_infinity_in_the_log(tmp_path):
    """The scaler skips such steps.

    `Infinity` is no JSON, and other readers stop at it.
    """
    config = tiny(tmp_path, "train.max_iter=4", "train.max_grad_norm=0.5")
    trainer, start = run.prepare(config, "tiny", resume=False)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1000, backoff_factor=2.0**-100)
    trainer.train(start, 4)
    assert 0 < trainer.scaler.get_scale() < 2.0**100
    text = (tmp_path / "metrics.json").read_text()
    assert "Infinity" not in text and "NaN" not in text
    norms = ["gradient_norm" in json.loads(line) for line in text.splitlines()]
    assert norms[0] is False and norms[-1] is True


def test_signals_end_a_run_after_a_checkpoint(tmp_path):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        output_dir = tmp_path / number.name
        before = signal.getsignal(number)
        threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
        config = tiny(output_dir, "train.max_iter=100000", "train.checkpoint_period=100000", "train.log_period=100")
        assert not run.train(config, "tiny", resume=False)
        (written,) = output_dir.glob("*.pth")
        assert (output_dir / POINTER).read_text() == written.name and signal.getsignal(number) == before

        done = torch.load(written, weights_only=True)["iteration"] + 1
        config.train.max_iter = done + 2
        assert run.train(config, "tiny", resume=True)
        assert torch.load(output_dir / "model_final.pth", weights_only=True)["iteration"] == done + 1


def test_half_precision_on_the_cpu(tmp_path):
    lines = train(tmp_path, "train.max_iter=2", "train.precision=bf16")
    assert math.isfinite(lines[-1]["total_loss"])


def test_precisions():
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu) == torch.float32 and choose_precision("bf16", cpu) == torch.bfloat16
    with pytest.raises(ValueError, match="needs a CUDA device"):
        choose_precision("fp16", cpu)
    with pytest.raises(ValueError, match="unknown"):
        choose_precision("half", cpu)


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["auto", "fp16", "fp32"])
def test_the_same_trainer_on_a_gpu(tmp_path, precision):
    lines = train(tmp_path, "train.max_iter=4", "train.device=cuda", f"train.precision={precision}")
    assert math.isfinite(lines[-1]["total_loss"])


def test_training_with_a_teacher(tmp_path):
    torch.save(instantiate(load_config(TINY).teacher).state_dict(), tmp_path / "vit.pth")
    named = {f"backbone.{name}": value for name, value in torch.load(tmp_path / "vit.pth").items()}
    torch.save({"model": named}, tmp_path / "vitmatte.pth")
    with_teacher = ("train.max_iter=2", "model.distill=True")
    lines = train(tmp_path / "run", *with_teacher, f"train.teacher_checkpoint={tmp_path / 'vitmatte.pth'}")
    assert lines[-1]["distill_loss"] > 0
    saved = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)["model"]
    assert all(torch.equal(saved[f"teacher_{name}"], value) for name, value in named.items())

    with pytest.raises(ValueError, match=r"train.teacher_checkpoint .* model.distill=False"):
        train(tmp_path / "none", *with_teacher)


def test_settings_that_cannot_work_are_refused(tmp_path):
    train(tmp_path, "train.max_iter=1")
    with pytest.raises(ValueError, match="holds a run already: add --resume"):
        run.train(tiny(tmp_path), "tiny", resume=False)
    with pytest.raises(ValueError, match="nothing to evaluate on"):
        run.evaluate(tiny(tmp_path), resume=True)


@pytest.mark.parametrize(
    ("pointer", "message"),
    [
        (b"model_0000009.pth", "names model_0000009.pth, which is not there"),
        (b"\xff\xfe", "cannot be read"),
        (b"", "which is not there"),
        (b"x" * 5000, "cannot be read"),
    ],
)
def test_a_damaged_pointer_to_the_last_checkpoint_is_told(tmp_path, pointer, message):
    (tmp_path / POINTER).write_bytes(pointer)
    with pytest.raises(ValueError, match=message):
        run.train(tiny(tmp_path), "tiny", resume=True)


def test_the_logged_curve_of_a_resumed_run_goes_on_as_if_nothing_had_happened(tmp_path):
    """Logged losses are medians over steps, which have to survive too."""
    train(tmp_path / "whole", "train.max_iter=8")
    train(tmp_path / "parts", "train.max_iter=5")
    for _ in range(2):  # the second has nothing left to do, and logs nothing
        assert run.train(tiny(tmp_path / "parts", "train.max_iter=8"), "tiny", resume=True)
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")


def test_settings_of_odd_types_are_told_before_anything_is_computed(tmp_path):
    with pytest.raises(ValueError, match="these settings do not make a run"):
        run.train(tiny(tmp_path, "lr_multiplier.warmup_iters=abc"), "tiny", resume=False)


def test_norms_freeze_at_their_iteration(tmp_path):
    """Statistics are frozen from the given step on; weights are not."""
    states = {}
    for steps in (1, 2, 4):
        overrides = (f"train.max_iter={steps}", "train.freeze_norms_from=2", "lr_multiplier.milestones=[90]")
        assert run.train(tiny(tmp_path / str(steps), *overrides), "tiny", resume=False)
        states[steps] = torch.load(tmp_path / str(steps) / "model_final.pth", weights_only=True)["model"]
    statistics = [name for name in states[1] if name.endswith(("running_mean", "running_var"))]
    assert statistics
    assert all(torch.equal(states[2][name], states[4][name]) for name in statistics)
    assert not any(torch.equal(states[1][name], states[2][name]) for name in statistics)
    weight = statistics[0].replace("running_mean", "weight")
    assert not torch.equal(states[2][weight], states[4][weight])


@pytest.mark.parametrize("bound", [1e-3, None])
def test_checkpoints_keep_to_the_bound_on_logits_where_there_is_one(tmp_path, bound):
    settings = tiny(tmp_path, "train.max_iter=1", "lr_multiplier.milestones=[90]")
    settings.train.max_logit_std = bound
    assert run.train(settings, "tiny", resume=False)
    model = instantiate(settings.model)
    load_weights(model, tmp_path / "model_final.pth")
    for block in model.backbone.blocks:
        before = block.attn.qkv.weight.clone()
        bound_logits_(block, 1e-3)
        assert torch.allclose(block.attn.qkv.weight, before, rtol=1e-3) == (bound is not None)
