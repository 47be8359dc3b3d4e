"""Moving average of the weights: numbers, users and exact resume."""

import json

import pytest
import torch
from detectron2.config import instantiate
from safetensors.torch import load_file
from torch import nn

from engine.training import session
from engine.training.average import WeightAverage
from engine.training.validation import validate, validation_pairs
from modeling.base import Distilled, MattingNetwork
from modeling.checkpoints.weights import load_weights, read_state_dict
from tests.engine.shrunk import leave_checkpoint
from tests.engine.training.test_trainer import tiny
from tests.engine.training.test_validation import folder  # noqa: F401
from tests.test_train import assert_same
from tools.export_checkpoint import main as export

EMA = ("train.ema_decay=0.9", "train.max_iter=4", "train.checkpoint_period=2", "train.image_period=1000")


class Linear(MattingNetwork, nn.Linear):
    """A network with a single weight."""


class Taught(Distilled):
    """A network with statistics and a teacher."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2)
        self.teacher_backbone = nn.Linear(2, 2)


def test_the_average_grows_longer_up_to_its_decay():
    model = Linear(1, 1, bias=False)
    average = WeightAverage(model, decay=0.5)
    expected = 0.0
    for step in range(1, 6):
        nn.init.constant_(model.weight, step)
        average.update(step)
        decay = min(0.5, 1 - step ** (-2 / 3))  # 0 at the first step
        expected = decay * expected + (1 - decay) * step
        assert average.model.weight.item() == pytest.approx(expected, rel=1e-6)


def test_the_teacher_stays_out_and_statistics_are_averaged():
    model = Taught()
    average = WeightAverage(model, decay=0.5)
    model.norm.running_mean.fill_(4.0)
    average.update(1)
    model.norm.running_mean.fill_(8.0)
    average.update(10)
    assert model.teacher_backbone is not None
    assert set(average.state_dict()) == {f"norm.{name}" for name in model.norm.state_dict()}
    assert average.model.norm.running_mean.tolist() == [6.0, 6.0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Run with an average, validated and saved at iterations 1 and 3."""
    output = tmp_path_factory.mktemp("ema") / "whole"
    torch.manual_seed(0)
    assert session.train(tiny(output, *EMA), "tiny", resume=False)
    return output


def content(path):
    return torch.load(path, weights_only=True)


def test_a_resumed_run_keeps_the_average_to_the_bit(whole, tmp_path):
    leave_checkpoint(whole, tmp_path / "resumed", "model_0000001.pth")
    assert session.train(tiny(tmp_path / "resumed", *EMA), "tiny", resume=True)
    wanted, found = content(whole / "model_final.pth"), content(tmp_path / "resumed" / "model_final.pth")
    for key in ("model", "ema", "trainer", "random", "iteration"):
        assert_same(wanted[key], found[key])


def test_a_run_may_begin_to_average_when_it_is_resumed(whole, tmp_path):
    leave_checkpoint(whole, tmp_path / "run", "model_0000001.pth")
    saved = content(whole / "model_0000001.pth")
    del saved["ema"]
    torch.save(saved, tmp_path / "run" / "model_0000001.pth")
    trainer, _ = session.prepare(tiny(tmp_path / "run", *EMA), "tiny", resume=True)
    average = next(hook.average for hook in trainer._hooks if hasattr(hook, "average"))
    assert_same(average.state_dict(), saved["model"])


def test_readers_take_the_average(whole, tmp_path):
    path, saved = whole / "model_final.pth", content(whole / "model_final.pth")
    name = "backbone.patch_embed.proj.weight"
    assert not torch.equal(saved["ema"][name], saved["model"][name])
    assert torch.equal(read_state_dict(path)[name], saved["ema"][name])
    assert torch.equal(read_state_dict(path, averaged=False)[name], saved["model"][name])
    for options, key in (([], "ema"), (["--last-step"], "model")):
        output = tmp_path / f"{key}.safetensors"
        assert export([str(path), str(output), *options]) == 0
        assert torch.equal(load_file(output)[name], saved[key][name])


def test_the_validation_scores_the_average(tmp_path, folder):  # noqa: F811
    config = tiny(
        tmp_path / "run", *EMA, f"train.validation_root={folder}", "train.eval_period=4", "train.ema_decay=0.99"
    )
    assert session.train(config, "tiny", resume=False)
    line = json.loads((tmp_path / "run" / "metrics.json").read_text().splitlines()[-1])
    scores = {}
    for averaged in (True, False):
        model = instantiate(config.model)
        model.load_state_dict(read_state_dict(tmp_path / "run" / "model_best.pth", averaged))
        scores[averaged] = validate(model, validation_pairs(folder), torch.device("cpu"))["sad"]
    assert line["validation/sad"] == pytest.approx(scores[True], abs=1e-6)
    assert scores[True] != scores[False]
    load_weights(model, tmp_path / "run" / "model_best.pth")  # as inference does
    assert validate(model, validation_pairs(folder), torch.device("cpu"))["sad"] == scores[True]
