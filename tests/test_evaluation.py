"""The command line of evaluation.py: results, messages and exit codes."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import evaluation
from metrics.scores import METRICS, score_pair
from tools.reference.golden.files import load_golden, recorded_scores

ROOT = Path(__file__).parents[1]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three images with recorded scores, one without unknown pixels."""
    for name in ("hair", "noise", "empty_unknown"):
        for key, pixels in load_golden(f"metrics_{name}").items():
            (tmp_path / key).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / key / f"{name}.png"), pixels)
    return tmp_path


def arguments(data: Path, *more: str) -> list[str]:
    pairs = (("--pred-dir", "pred"), ("--label-dir", "target"), ("--trimap-dir", "trimap"))
    return [*(part for option, folder in pairs for part in (option, str(data / folder))), *more]


def run(data: Path, *more: str) -> int:
    return evaluation.main(arguments(data, "--workers", "1", *more))


def test_whole_command(data):
    command = [sys.executable, "evaluation.py", *arguments(data), "--json", str(data / "o.json"), "--csv"]
    done = subprocess.run([*command, str(data / "o.csv")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    recorded = recorded_scores()
    result = json.loads((data / "o.json").read_text())
    assert result["region"] == "unknown"
    assert (result["missing"], result["without_unknown"], result["failed"]) == (0, 1, 0)
    images = {image["name"]: image for image in result["images"]}
    rows = {row["name"]: row for row in csv.DictReader((data / "o.csv").open())}
    assert list(images) == list(rows) == ["empty_unknown", "hair", "noise"]
    for metric in METRICS:
        values = [recorded[name]["float64"][metric] for name in ("hair", "noise")]
        assert [images[name][metric] for name in ("hair", "noise")] == pytest.approx(values, rel=1e-9)
        assert float(rows["hair"][metric]) == images["hair"][metric]
        assert result["mean"][metric] == pytest.approx(sum(values) / 2, rel=1e-9)
        assert images["empty_unknown"][metric] is None
        assert rows["empty_unknown"][metric] == ""
    assert "empty_unknown: no unknown pixel" in done.stderr
    mean = next(line for line in done.stdout.splitlines() if line.startswith("mean"))
    assert mean.split()[1:] == [f"{result['mean'][metric]:.4f}" for metric in METRICS]
    assert "1 without unknown pixels, not in the mean" in done.stdout
    assert "nan" not in done.stdout.lower()


def test_worst_images_come_first(data, capsys):
    assert run(data) == 0
    lines = capsys.readouterr().out.splitlines()
    worst = lines[lines.index("worst by SAD") + 1 :]
    assert [line.split()[0] for line in worst[:2]] == ["hair", "noise"]


def test_workers_change_nothing(data, capfd):
    """Nor do messages: several pictures in a file make one line.

    Whatever its name.
    """
    first, *rest = (Image.fromarray(np.full((9, 9), level, np.uint8)) for level in (200, 0, 0))
    for folder, level in (("target", 255), ("trimap", 128)):
        Image.new("L", (9, 9), level).save(data / folder / "an\nimation.png")
    first.save(data / "pred" / "an\nimation.webp", save_all=True, append_images=rest, lossless=True)
    for workers in ("1", "2"):
        assert run(data, "--workers", workers, "--json", str(data / f"{workers}.json")) == 0
    assert (data / "1.json").read_bytes() == (data / "2.json").read_bytes()
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "several pictures" in line]  # of a process
    assert line.startswith("WARNING: ") and "an\\nimation.webp: holds several pictures" in line


def test_whole_image_needs_no_trimaps(data, capsys):
    argv = arguments(data, "--whole-image", "--workers", "1", "--json", str(data / "o.json"))
    del argv[4:6]
    assert evaluation.main(argv) == 0
    result = json.loads((data / "o.json").read_text())
    arrays = load_golden("metrics_hair")
    expected = score_pair(arrays["pred"], arrays["target"], whole_image=True)
    hair = next(image for image in result["images"] if image["name"] == "hair")
    assert hair == {"name": "hair", **{metric: getattr(expected, metric) for metric in METRICS}}
    assert (result["region"], result["without_unknown"], result["scored"]) == ("whole", 0, 3)
    assert "whole image" in capsys.readouterr().out


def test_missing_prediction(data, capsys):
    (data / "pred" / "noise.png").unlink()
    assert run(data) == 1
    shown = capsys.readouterr()
    assert "error: noise: no prediction in" in shown.err
    assert "hair" in shown.out

    assert run(data, "--allow-missing", "--json", str(data / "o.json")) == 0
    shown = capsys.readouterr()
    assert "error" not in shown.err
    assert "1 without prediction, not in the mean" in shown.out
    result = json.loads((data / "o.json").read_text())
    assert (result["missing"], result["missing_names"], result["scored"]) == (1, ["noise"], 1)


def _shrink(path: Path) -> None:
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[1:, 2:])


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _deepen(path: Path) -> None:
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.uint16) * 257)


def _make_bilevel(path: Path) -> None:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), np.where(image > 127, np.uint8(255), np.uint8(0)), [cv2.IMWRITE_PNG_BILEVEL, 1])


def _grey_out(path: Path) -> None:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), np.where(image == 128, np.uint8(102), image))


@pytest.mark.parametrize(
    ("folder", "damage", "message"),
    [
        ("pred", _shrink, "prediction noise.png is 129x96 but label noise.png is 131x97"),
        ("target", _shrink, "prediction noise.png is 131x97 but label noise.png is 129x96"),
        ("trimap", _shrink, "prediction noise.png is 131x97 but trimap noise.png is 129x96"),
        ("pred", _truncate, "pred/noise.png: damaged or incomplete image"),
        ("target", _truncate, "target/noise.png: damaged or incomplete image"),
        ("pred", _deepen, "pred/noise.png: has 16 bits; the metrics are defined on 8 bits"),
        ("pred", _make_bilevel, "pred/noise.png: has 1 bit per pixel"),
        (
            "trimap",
            _grey_out,
            "values other than 0, 128 and 255 (102); --snap-trimap takes",
        ),
        ("trimap", Path.unlink, "no trimap for it in"),
        ("target", Path.unlink, "no label for it in"),
    ],
)
def test_a_bad_file_costs_its_image_only(data, capsys, folder, damage, message):
    damage(data / folder / "noise.png")
    assert run(data, "--json", str(data / "o.json")) == 1
    shown = capsys.readouterr()
    errors = [line for line in shown.err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert errors[0].startswith("error: noise: ") and message in errors[0]
    assert "1 images scored" in shown.out
    result = json.loads((data / "o.json").read_text())
    assert [error["name"] for error in result["errors"]] == ["noise"]
    assert result["mean"]["sad"] == pytest.approx(5.730188235, rel=1e-9)


def test_snap_trimap(data, capsys):
    _grey_out(data / "trimap" / "noise.png")
    assert run(data, "--snap-trimap", "--json", str(data / "o.json")) == 0
    result = json.loads((data / "o.json").read_text())
    noise = next(image for image in result["images"] if image["name"] == "noise")
    assert noise["sad"] == pytest.approx(2.16145098, rel=1e-9)


def test_nothing_to_average_is_a_failure_without_nan(data, capsys):
    for name in ("hair", "noise"):
        for folder in ("pred", "target", "trimap"):
            (data / folder / f"{name}.png").unlink()
    assert run(data, "--json", str(data / "o.json")) == 1
    assert "no image could be scored" in capsys.readouterr().err
    assert json.loads((data / "o.json").read_text())["mean"] == dict.fromkeys(METRICS)


def test_files_that_are_not_read_are_named(data, capsys, caplog):
    (data / "pred" / "hair.png").rename(data / "pred" / "hair.gif")
    (data / "trimap" / "notes.txt").touch()
    (data / "trimap" / ".hidden").touch()
    assert run(data, "--report", str(data / "o.html")) == 1
    assert "hair: no prediction" in capsys.readouterr().err
    first, second = (message for message in caplog.messages if "not read" in message)
    assert "pred: 1 file is not read" in first and first.endswith(": hair.gif")
    assert "trimap: 1 file is not read" in second and second.endswith(": notes.txt")


def test_names_cannot_forge_lines_of_the_table(data, capsys):
    for folder in ("pred", "target", "trimap"):
        (data / folder / "hair.png").rename(data / folder / "a\nmean  0.0\udcff.png")
    assert run(data) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("mean") for line in lines) == 1
    assert any(line.startswith("a\\nmean  0.0\\udcff ") for line in lines)


def test_extra_predictions_are_mentioned(data, capsys):
    (data / "pred" / "stray.png").write_bytes((data / "pred" / "hair.png").read_bytes())
    assert run(data) == 0
    assert "1 predictions that nothing asks for were ignored: stray" in capsys.readouterr().err


def test_composition_1k(data, capsys):
    """One alpha for many composites, with awkward foreground names.

    Underscores, digits, spaces and parentheses.
    """
    for folder in ("pred", "target", "trimap"):
        source = data / folder / "hair.png"
        names = [""] if folder == "target" else ["_0", "_19"]
        for foreground in ("cat-1288531_1920", "woman-952506_1920 (1)"):
            for index in names:
                (data / folder / f"{foreground}{index}.png").write_bytes(source.read_bytes())
        source.unlink()
    assert run(data, "--json", str(data / "o.json")) == 0
    result = json.loads((data / "o.json").read_text())
    scored = {image["name"]: image["sad"] for image in result["images"] if image["sad"] is not None}
    hair = pytest.approx(5.730188235, rel=1e-9)
    composites = [f"{name}_{i}" for name in ("cat-1288531_1920", "woman-952506_1920 (1)") for i in (0, 19)]
    assert {name: scored[name] for name in composites} == dict.fromkeys(composites, hair)


def test_wrong_arguments_end_with_2(data, capsys):
    (data / "empty").mkdir()
    for argv, message in (
        (arguments(data)[:4], "--trimap-dir is needed"),
        (arguments(data, "--pred-dir", str(data / "empty")), "empty holds no image files"),
        (arguments(data, "--label-dir", str(data / "nowhere")), "nowhere is not a folder"),
        (arguments(data, "--workers", "0"), "at least 1"),
        (arguments(data, "--json", str(data / "no" / "o.json")), "cannot be written"),
        (arguments(data, "--csv", str(data)), "cannot be written"),
        (arguments(data, "--csv", "a/" * 3000), "cannot be written"),
        (arguments(data, "--colour", "red"), "unrecognized arguments"),
    ):
        try:
            code = evaluation.main(argv)
        except SystemExit as stop:
            code = stop.code
        assert code == 2
        shown = capsys.readouterr()
        assert message in shown.err
        assert shown.out == ""


def test_a_failed_write_keeps_the_old_file(data, capsys, monkeypatch):
    target = data / "o.json"
    target.write_text("before")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    assert run(data, "--json", str(target)) == 1
    assert "o.json: cannot be written (No space left on device)" in capsys.readouterr().err
    assert target.read_text() == "before"
    assert sorted(path.name for path in data.iterdir()) == ["o.json", "pred", "target", "trimap"]


@pytest.mark.parametrize("option", ["--csv", "--json", "--report"])
@pytest.mark.parametrize("folder", ["pred", "target", "trimap"])
def test_a_report_over_an_input_is_refused_before_any_work(data, capsys, option, folder):
    before = (data / folder / "hair.png").read_bytes()
    (data / "link.json").symlink_to(data / folder / "hair.png")
    for path in (data / folder / "hair.png", data / "link.json"):
        with pytest.raises(SystemExit, match="2"):
            run(data, option, str(path))
        assert "the output would overwrite an input" in capsys.readouterr().err
    assert (data / folder / "hair.png").read_bytes() == before


def test_two_reports_in_one_file_are_refused(data, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(data, "--csv", str(data / "x"), "--json", str(data / "pred" / ".." / "x"))
    assert "the output would overwrite another output" in capsys.readouterr().err
    assert not (data / "x").exists()


def test_names_that_are_no_utf_8_are_in_every_report(data):
    name = "\udcff hair"
    for folder in ("pred", "target", "trimap"):
        (data / folder / "hair.png").rename(data / folder / f"{name}.png")
    reports = {option: data / option for option in ("--csv", "--json", "--report")}
    assert run(data, *(part for option, path in reports.items() for part in (option, str(path)))) == 0
    assert name in [image["name"] for image in json.loads(reports["--json"].read_text())["images"]]
    for option in ("--csv", "--report"):
        assert "\\udcff hair" in reports[option].read_text()


def test_names_are_no_formulas_in_a_table(data):
    names = ["=cmd|calc", "-1+2", "@a", "plain"]
    for folder in ("pred", "target", "trimap"):
        whole = (data / folder / "hair.png").read_bytes()
        for name in names:
            (data / folder / f"{name}.png").write_bytes(whole)
    assert run(data, "--csv", str(data / "o.csv")) == 0
    cells = [row["name"] for row in csv.DictReader((data / "o.csv").open())]
    assert {"'=cmd|calc", "'-1+2", "'@a", "plain"} < set(cells)


def test_a_pipe_among_the_predictions_costs_its_image_only(data, capsys):
    (data / "pred" / "noise.png").unlink()
    os.mkfifo(data / "pred" / "noise.png")
    assert run(data) == 1
    assert "noise: " in (shown := capsys.readouterr().err) and "is a folder, a pipe or a device" in shown
