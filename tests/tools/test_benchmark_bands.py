from pathlib import Path

import cv2
import numpy as np
import pytest

from tools.benchmark_bands import main, masks, opaque_share


def test_the_table_has_a_row_per_kind_of_mask(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    alpha = cv2.circle(np.zeros((96, 128), np.uint8), (64, 48), 24, 255, -1, cv2.LINE_AA)
    image = np.where(alpha[..., None] > 127, np.uint8(200), np.uint8(60)).repeat(3, axis=2)
    for name, pixels in {"image": image, "trimap": np.full_like(alpha, 128), "alpha": alpha}.items():
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "ball.png"), pixels)
    assert main(["--data-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| mask | auto | 8 | 16 | 32 |"
    kinds = [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]
    assert kinds == ["exact", "displaced 4 px", "displaced 8 px", "polygon", "mean"]
    assert "100.0 %" in lines[2]
    assert main(["--data-dir", str(tmp_path / "nothing")]) == 2


def test_pictures_without_a_body_can_be_left_out() -> None:
    haze = np.full((8, 8), 90, np.uint8)
    haze[:2] = 255
    assert opaque_share(haze) == 0.25
    assert opaque_share(np.zeros((8, 8), np.uint8)) == 0


def test_masks_are_displaced_by_what_they_say() -> None:
    alpha = cv2.circle(np.zeros((96, 128), np.uint8), (64, 48), 24, 255, -1)
    centres = {kind: np.argwhere(mask > 0).mean(axis=0) for kind, mask in masks(alpha, 0)}
    assert np.hypot(*(centres["displaced 8 px"] - centres["exact"])) == pytest.approx(8, abs=0.6)
    assert np.hypot(*(centres["polygon"] - centres["exact"])) < 2
