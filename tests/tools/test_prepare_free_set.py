"""Training and validation set from cut-outs and photographs."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.folders import find_pairs
from data.prepare.drawn import KINDS
from tests.data.folders import disc, waves, write
from tools.prepare_free_set import main


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in "abcdef":
        write(tmp_path / "fg" / f"{name}.png", np.dstack([waves(40, 50, ord(name)), cv2.blur(disc(40, 50), (5, 5))]))
        write(tmp_path / "bg" / f"{name}.jpg", waves(60, 70, ord(name)))
    return tmp_path


def prepare(root: Path, *more: str) -> int:
    return main(
        [
            "--cutouts",
            str(root / "fg"),
            "--backgrounds",
            str(root / "bg"),
            "--output",
            str(root / "out"),
            "--drawn",
            "1",
            "--validation-drawn",
            "1",
            "--held-out",
            str(root / "held_out.txt"),
            "--share",
            "0.3",
            "--workers",
            "1",
            *more,
        ]
    )


def stems(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir()}


def test_the_sets_are_disjoint_and_complete(source: Path) -> None:
    assert prepare(source) == 0
    out = source / "out"
    held_out = set((source / "held_out.txt").read_text().splitlines()[1:])
    assert stems(out / "cutouts").isdisjoint(held_out) and stems(out / "backgrounds").isdisjoint(held_out)
    drawn = {f"{kind}_0" for kind in KINDS}
    assert stems(out / "drawn") == drawn
    pairs = find_pairs(out / "validation")
    assert {pair.name for pair in pairs} == drawn | (held_out & stems(source / "fg") - stems(out / "cutouts"))
    assert all(pair.trimap and pair.alpha and not pair.problem for pair in pairs)


def test_a_second_run_changes_nothing_and_follows_the_list(source: Path) -> None:
    (source / "held_out.txt").write_text("# mine\nb\nc\n")
    assert prepare(source, "--validation-drawn", "0") == 0
    before = {path: path.stat().st_mtime_ns for path in (source / "out").rglob("*.*")}
    assert prepare(source, "--validation-drawn", "0") == 0
    assert before == {path: path.stat().st_mtime_ns for path in (source / "out").rglob("*.*")}
    assert stems(source / "out/cutouts") == set("adef") == stems(source / "out/backgrounds")


def test_renderings_are_trained_on_unless_they_are_held_out(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("fur_00000_rendered", "fur_00001_rendered", "net_00000_rendered"):
        rgba = np.dstack([waves(40, 50), cv2.blur(disc(40, 50), (5, 5))])
        write(source / name.split("_")[0] / f"{name}.png", rgba)
    (source / "held_out.txt").write_text("a\nfur_00001_rendered\n")
    options = ["--drawn", "0", "--validation-drawn", "0", "--rendered", str(source / "fur")]
    assert prepare(source, *options, str(source / "net")) == 0
    assert stems(source / "out/rendered") == {"fur_00000_rendered", "net_00000_rendered"}
    assert {"a", "fur_00001_rendered"} <= stems(source / "out/validation/original")
    assert prepare(source, *options, str(source / "fur")) == 2
    assert "2 names occur twice, such as fur_00000_rendered" in caplog.text


def test_what_cannot_be_split_is_one_line(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    (source / "held_out.txt").write_text("nothing\n")
    assert prepare(source) == 2
    assert "must leave cut-outs and photographs on both sides" in caplog.text
