"""The command line of the renderer; Blender itself is not needed here."""

import importlib.util
import sys
from pathlib import Path

import pytest

from data.prepare.rendered import produce
from data.prepare.rendered.produce import GROUPS, KINDS
from tools import rendering
from tools.render_foregrounds import expanded, main, parse, planned


def render(folder: Path, *more: str) -> int:
    return main(["--output", str(folder), "--kinds", "net", "veil", "--count", "2", "--size", "64", *more])


def test_pictures_and_sheet_are_made_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert render(tmp_path / "out", "--sheet", str(tmp_path / "sheet.jpg")) == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files] == [
        f"{kind}_0000{seed}_rendered.webp" for kind in ("net", "veil") for seed in (0, 1)
    ]
    assert (tmp_path / "sheet.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    before = [path.stat().st_mtime_ns for path in files]
    files[1].unlink()
    assert render(tmp_path / "out") == 0
    assert "1 foregrounds made, 3 were there, 0 failed" in capsys.readouterr().out
    after = [path.stat().st_mtime_ns for path in files]
    assert after[0] == before[0] and after[2:] == before[2:] and after[1] > before[1]


def test_two_processes_make_the_same_pictures(tmp_path: Path) -> None:
    assert render(tmp_path / "one") == 0
    assert render(tmp_path / "two", "--threads", "2") == 0
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_kinds_are_named_alone_or_in_groups(tmp_path: Path) -> None:
    assert expanded(["clear", "fur", "smoke"]) == ["fur", *GROUPS["clear"]]
    items = planned(parse(["--output", str(tmp_path), "--count", "3", "--first-seed", "40"]))
    assert [item.kind for item in items[: len(KINDS)]] == list(KINDS)
    assert {item.seed for item in items} == {40, 41, 42}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kinds", "unicorn"], "invalid choice"),
        (["--count", "-1"], "must not be negative"),
        (["--size", "8"], "--size must be from 64"),
        (["--sheet", "a.png"], "must end in .jpg"),
        (["--renderer", "cycles", "--kinds", "smoke"], "does not render smoke"),
    ],
)
def test_wrong_arguments_are_refused(options: list[str], said: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(["--output", "out", *options])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_a_missing_blender_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "find_spec", lambda name: None)
    monkeypatch.setattr(rendering, "PYTHON", tuple(sys.version_info[:2]))
    assert render(tmp_path, "--renderer", "cycles", "--kinds", "net") == 2
    assert "pip install -r requirements-render.txt" in caplog.text
    monkeypatch.setattr(rendering, "PYTHON", (3, 99))
    assert render(tmp_path, "--renderer", "cycles", "--kinds", "net") == 2
    assert "needs Python 3.99" in caplog.text


def test_blender_is_not_imported_unless_asked_for() -> None:
    assert "bpy" not in sys.modules
    assert importlib.util.find_spec("tools.rendering.cycles")


def test_a_failure_is_named_and_the_rest_is_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(size: int, rng: object) -> None:
        raise ValueError("cannot be drawn")

    monkeypatch.setitem(produce.CLEAR_KINDS, "veil", broken)
    assert render(tmp_path) == 1
    assert "veil_00001_rendered.webp: cannot be drawn" in caplog.text
    assert len(list(tmp_path.glob("net_*"))) == 2
