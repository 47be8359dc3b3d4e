"""Memory bounds choose parts and recomputation without changing results."""

import logging

import pytest
import torch

from engine.training import session, step_plan
from engine.training.step_plan import Plan, choose
from engine.training.trainer import choose_precision
from tests.engine.training.test_trainer import tiny
from tests.test_train import assert_same

GB = 10**9


@pytest.mark.parametrize(
    ("free", "plan"),
    [
        (32, Plan(1, False)),
        (31, Plan(1, True)),
        (16, Plan(1, True)),
        (15, Plan(2, True)),
        (4, Plan(4, True)),
        (2, Plan(8, True)),
        (1, None),
    ],
)
def test_the_fastest_plan_that_fits_is_chosen(free, plan):
    assert choose({False: 4 * GB, True: 2 * GB}, free * GB, crops=8, least_parts=1) == plan


def test_what_the_config_asks_for_stays():
    assert choose({True: 2 * GB}, 100 * GB, crops=8, least_parts=3) == Plan(4, True)


def test_a_bound_shapes_the_step_and_leaves_no_trace(tmp_path, monkeypatch, caplog):
    """The probe changes no state; a resumed run keeps the plan."""
    settings = ("train.max_iter=2", "train.image_period=1000", "train.accumulate=2", "train.total_batch_size=4")
    bounded = [*settings, "train.max_memory=100GB"]
    with caplog.at_level(logging.INFO):
        for folder, overrides in (("plain", settings), ("bounded", bounded)):
            assert session.train(tiny(tmp_path / folder, *overrides), "tiny", resume=False)
    assert "2 crops at a time (train.accumulate=2), activations kept; about" in caplog.text
    plain, found = (torch.load(tmp_path / name / "model_final.pth", weights_only=True) for name in ("plain", "bounded"))
    for key in ("model", "trainer", "random"):
        assert_same(plain[key], found[key])

    monkeypatch.setattr(step_plan, "plan_step", None)  # is not asked again
    monkeypatch.setattr(session, "plan_step", None)
    trainer, _ = session.prepare(tiny(tmp_path / "bounded", *bounded, "train.max_iter=3"), "tiny", resume=True)
    assert trainer.accumulate == 2


def test_too_small_a_bound_says_what_is_held(tmp_path):
    with pytest.raises(
        ValueError, match=r"train\.max_memory=1MB is too little: a step on one crop takes .* GB, of which"
    ):
        session.train(tiny(tmp_path, "train.max_memory=1MB"), "tiny", resume=False)
    with pytest.raises(ValueError, match="is not an amount of memory"):
        session.train(tiny(tmp_path, "train.max_memory=much"), "tiny", resume=False)


def test_float32_is_exact_unless_tf32_is_asked_for():
    choose_precision("tf32", torch.device("cpu"))
    assert torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32
    assert choose_precision("fp32", torch.device("cpu")) == torch.float32
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_switches_reach_torch(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    session.prepare(tiny(tmp_path, "train.compile=true", "train.cudnn_benchmark=true"), "tiny", resume=False)
    assert compiled == ["MEMatte"] and torch.backends.cudnn.benchmark
