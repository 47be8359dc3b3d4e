"""The contact sheet shows what is there, and says what is not."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.data.folders import disc, waves, write
from tools.contact_sheet import main


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, size in (("a", (40, 60)), ("b", (50, 30))):
        alpha = disc(*size)
        write(tmp_path / "set/image" / f"{name}.png", waves(*size))
        write(tmp_path / "set/trimap" / f"{name}.png", np.full(size, 128, np.uint8))
        write(tmp_path / "out" / f"{name}.png", alpha)
    write(tmp_path / "set/alpha/a.png", disc(40, 60))
    write(tmp_path / "out/a_rgba.png", np.dstack([np.full((40, 60, 3), 255, np.uint8), disc(40, 60)]))
    return tmp_path


def sheet(root: Path) -> int:
    return main(
        [
            "--data-dir",
            str(root / "set"),
            "--matte-dir",
            str(root / "out"),
            "--output",
            str(root / "s/sheet.png"),
            "--side",
            "64",
        ]
    )


def test_a_row_an_image(root: Path) -> None:
    assert sheet(root) == 0
    picture = cv2.imread(str(root / "s/sheet.png"))
    assert picture.shape == (2 * (64 + 28), 5 * 68, 3)
    middle = 24 + 32
    assert (picture[middle, [2 * 68 + 32, 3 * 68 + 32, 4 * 68 + 32]] == 255).all()  # inside the disc: alphas, cut-out
    assert (picture[middle, [2 * 68 + 4, 3 * 68 + 4]] == 0).all()
    assert picture[middle, 4 * 68 + 4].max() < 160  # the checkerboard


def test_a_missing_matte_is_named_and_the_others_shown(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "out/a.png").unlink()
    assert sheet(root) == 1
    assert "a.png" in caplog.text and cv2.imread(str(root / "s/sheet.png")).shape[0] == 64 + 28
    (root / "out/b.png").unlink()
    assert sheet(root) == 2


def test_no_data_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert sheet(tmp_path) == 2 and len(caplog.records) == 1


def test_a_sheet_over_a_matte_is_refused(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "s").mkdir()
    (root / "s/sheet.png").symlink_to(root / "out/a.png")
    before = (root / "out/a.png").read_bytes()
    assert sheet(root) == 2 and "would overwrite an input" in caplog.text
    assert (root / "out/a.png").read_bytes() == before
