"""Published table in one command, on a small set with synthetic weights."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine.build import build_model
from tests.engine.synthetic import composite
from tools import reproduce
from tools.reference.weights import fill_

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "CheapMatting.py"


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """Two composites in the layout of Composition-1k, and weights."""
    for index in range(2):
        image, trimap, alpha = (part.numpy() for part in composite(index, 96))
        pixels = {
            "merged": image.transpose(1, 2, 0)[..., ::-1] * 255,
            "trimaps": trimap[0],
            "alpha_copy": alpha[0] * 255,
        }
        for folder, values in pixels.items():
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "set" / folder / f"{index}.png"), np.rint(values).astype(np.uint8))
    torch.save({"model": fill_(build_model(CONFIG).state_dict())}, tmp_path / "weights.pth")
    return [
        "composition-1k",
        "--checkpoint",
        str(tmp_path / "weights.pth"),
        "--config",
        str(CONFIG),
        "--device",
        "cpu",
        "--data",
        str(tmp_path / "set"),
        "--output",
        str(tmp_path / "out"),
    ]


def test_measured_scores_stand_beside_published_ones(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert reproduce.main(arguments) == 1  # made weights are far off
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][-4:]
    assert [row[1].strip() for row in rows] == ["SAD", "MSE", "GRAD", "CONN"]
    assert [row[3].strip() for row in rows] == ["26.37", "5.03", "11.05", "22.05"]
    assert all("more than 1.0%" in row[4] for row in rows)
    measured = tuple(float(row[2]) for row in rows)
    monkeypatch.setitem(reproduce.COMPOSITION_1K, "CheapMatting", measured)
    assert reproduce.main([*arguments, "--tolerance", "0.5"]) == 0


def test_the_difference_is_relative() -> None:
    measured = dict(zip(reproduce.METRICS, (20.1, 3.0, 7.0, 15.0), strict=True))
    table, within = reproduce.compare(measured, (20.0, 3.0, 7.0, 15.0), 0.01)
    assert within and "| SAD | 20.10 | 20.00 | +0.5% |" in table
    table, within = reproduce.compare(measured, (20.0, 3.0, 7.5, 15.0), 0.01)
    assert not within and "| GRAD | 7.00 | 7.50 | -6.7% (more than 1.0%) |" in table


def test_what_was_never_published_is_refused(arguments: list[str], caplog: pytest.LogCaptureFixture) -> None:
    arguments[arguments.index(str(CONFIG))] = str(CONFIG.with_name("MEMatte_T.py"))
    assert reproduce.main(arguments) == 2 and "MEMatte_T: nothing is published" in caplog.text
