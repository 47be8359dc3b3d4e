"""Weights & Biases as a further writer, with a stand-in for the service."""

import json
import sys
from types import SimpleNamespace

import pytest

from engine.training import session
from tests.engine.training.test_trainer import tiny


@pytest.fixture
def service(monkeypatch):
    """Module `wandb`, which keeps what it is told."""
    told = SimpleNamespace(init=None, logged=[], finished=False)

    def init(**settings):
        told.init = settings
        return SimpleNamespace(
            log=lambda figures, step: told.logged.append((step, figures)),
            finish=lambda: setattr(told, "finished", True),
        )

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    return told


def test_figures_go_to_weights_and_biases_too(tmp_path, service):
    settings = ("train.max_iter=3", "train.image_period=1000", "train.wandb_project=matting")
    assert session.train(tiny(tmp_path / "run", *settings), "tiny", resume=False)
    assert (service.init["project"], service.init["name"], service.init["resume"]) == ("matting", "run", "allow")
    assert service.init["config"]["train"]["max_iter"] == 3
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.json").read_text().splitlines()]
    assert [step for step, _ in service.logged] == [line["iteration"] for line in lines]
    for (_, figures), line in zip(service.logged, lines, strict=True):
        assert figures["total_loss"] == line["total_loss"]
    assert service.finished


def test_a_missing_package_is_told_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="pip install wandb"):
        session.train(tiny(tmp_path, "train.wandb_project=matting"), "tiny", resume=False)
