"""Curves of a run: every logged quantity once, resumed runs joined."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from tools.plot_training import draw_comparison, main, read_log, series, smoothed


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [{"iteration": i, "unknown_l1_loss": 2.0 - i / 100, "keep/total": 0.25} for i in (0, 10, 20, 10, 30)]
    rows[3]["unknown_l1_loss"] = 7.0  # iteration 10 again, after resuming
    rows.append({"iteration": 40, "validation/sad": 3.0})
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_resumed_iterations_count_once(run: Path) -> None:
    iterations, values = series(read_log(run / "metrics.json"), "unknown_l1_loss")
    assert iterations.tolist() == [0, 10, 20, 30] and values.tolist() == [2.0, 7.0, 1.8, 1.7]


def test_smoothing_is_a_running_mean() -> None:
    assert smoothed(np.array([1.0, 3.0, 5.0, 7.0]), 2).tolist() == [1, 2, 4, 6]


def test_pipes_are_not_opened_and_pictures_are_files(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main([str(run), "--output", "/dev/loss.png"]) == 2
    assert "/dev/loss.png: cannot be written" in caplog.messages[-1]
    (run / "metrics.json").unlink()
    os.mkfifo(run / "metrics.json")
    assert main([str(run), "--output", str(run / "loss.png")]) == 2
    assert "is a folder, a pipe or a device" in caplog.messages[-1]


def test_a_picture_comes_out(run: Path) -> None:
    assert main([str(run), "--output", str(run / "curves.png")]) == 0
    picture = cv2.imread(str(run / "curves.png"))
    assert picture.shape[1] > 1000 and picture.std() > 5


def test_runs_are_compared_in_one_picture(run: Path) -> None:
    (run / "other").mkdir()
    (run / "other" / "metrics.json").write_text((run / "metrics.json").read_text().replace("3.0", "2.0"))
    logs = {folder.name: read_log(folder / "metrics.json") for folder in (run, run / "other")}
    for panel in draw_comparison(logs, smooth=1).axes:
        assert [line.get_label() for line in panel.lines] == list(logs)
    assert main([str(run), str(run / "other"), "--output", str(run / "both.png")]) == 0
    assert cv2.imread(str(run / "both.png")).std() > 5


@pytest.mark.parametrize("content", [None, "", "no json", "[1]"])
def test_a_bad_log_is_one_line(run: Path, content: str | None, caplog: pytest.LogCaptureFixture) -> None:
    (run / "metrics.json").unlink()
    if content is not None:
        (run / "metrics.json").write_text(content)
    assert main([str(run), "--output", str(run / "curves.png")]) == 2
    assert len(caplog.records) == 1 and "metrics.json" in caplog.text
