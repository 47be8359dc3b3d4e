"""tools/check_dataset.py on small folders: exit codes, names of bad files, the sheet."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.data.folders import disc, make_dim, waves, write
from tools.check_dataset import main


def run(root: Path, *options: str) -> int:
    return main(
        [
            str(root),
            "--backgrounds",
            str(root / "bg"),
            "--sheet",
            str(root / "sheet.png"),
            "--crop-size",
            "64",
            "--crops",
            "3",
            *options,
        ]
    )


def test_good_data_gives_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(make_dim(tmp_path)) == 0
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * 196, 2 * (4 * 192 + 4), 3) and sheet.std() > 20
    printed = capsys.readouterr().out
    assert "3 usable foregrounds" in printed and "4 usable backgrounds" in printed
    assert "160 / 170 / 180" in printed


def test_cutouts(tmp_path: Path) -> None:
    make_dim(tmp_path)
    write(tmp_path / "cut" / "a.png", np.dstack([waves(100, 120), disc(100, 120)]))
    sheet = str(tmp_path / "cutouts.png")
    assert main([str(tmp_path / "cut"), "--cutouts", "--backgrounds", str(tmp_path / "bg"), "--sheet", sheet]) == 0
    assert Path(sheet).is_file()


def test_bad_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make_dim(tmp_path, count=5)
    write(tmp_path / "alpha" / "f0.png", np.zeros((160, 160), np.uint8))
    write(tmp_path / "fg" / "lonely.png", waves(50, 50))
    for name in ("fg/f1.jpg", "alpha/f2.png", "bg/b0.jpg"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-150])
    assert run(tmp_path) == 1
    bad = [line for line in capsys.readouterr().out.splitlines() if line.startswith("bad: ")]
    assert len(bad) == 5
    for name in ("alpha/f0.png", "fg/lonely.png", "fg/f1.jpg", "alpha/f2.png", "bg/b0.jpg"):
        assert sum(name in line for line in bad) == 1
    assert (tmp_path / "sheet.png").is_file()


@pytest.mark.parametrize("victim", ["fg/f0.png", "alpha/f1.png", "bg/b0.png"])
def test_a_sheet_over_an_input_is_refused_before_any_work(
    tmp_path: Path, victim: str, capsys: pytest.CaptureFixture
) -> None:
    make_dim(tmp_path)
    write(tmp_path / victim, np.zeros((9, 9, 3), np.uint8))
    before = (tmp_path / victim).read_bytes()
    assert run(tmp_path, "--sheet", str(tmp_path / victim)) == 2
    shown = capsys.readouterr()
    assert "would overwrite an input" in shown.err and not shown.out
    assert (tmp_path / victim).read_bytes() == before


def test_nothing_usable(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(tmp_path) == 2
    assert "fg: no such folder" in capsys.readouterr().err
    make_dim(tmp_path)
    for path in (tmp_path / "alpha").iterdir():
        path.write_bytes(b"")
    assert run(tmp_path) == 2
