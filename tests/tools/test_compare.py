"""Comparison of models: damaged files, unloadable models, wrong arguments."""

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from data.files import read_alpha, read_image
from engine.build import build_model
from metrics.scores import Scores, score_pair
from modeling import Predictor
from tools import compare
from tools.comparison import run, worker
from tools.comparison.report import Compared, Model, mean_scores, scored_by_all, table
from tools.reference.weights import fill_

CONFIG = """
from detectron2.config import LazyCall as L
from modeling import ViTMatte
from modeling.backbone.vit import ViT
from modeling.decoder.detail_capture import DetailCapture

backbone = L(ViT)(embed_dim=32, depth={depth}, num_heads=2, window_size=4, global_blocks=[1], table_side=6)
decoder = L(DetailCapture)(feature_chans=32, stream_chans=(8, 12, 16), fusion_chans=(24, 16, 12, 8), head_chans=8)
model = L(ViTMatte)(backbone=backbone, decoder=decoder)
"""
SIZES = {"a": (40, 50), "b": (33, 20), "sub/c": (70, 64)}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Arguments of three models, one with another's checkpoint."""
    folder = tmp_path_factory.mktemp("networks")
    for name, depth in (("small", 2), ("deep", 3)):
        (folder / f"{name}.py").write_text(CONFIG.format(depth=depth))
        torch.save({"model": fill_(build_model(folder / f"{name}.py").state_dict())}, folder / f"{name}.pth")

    def model(label: str, config: str, checkpoint: str) -> list[str]:
        return ["--model", label, str(folder / f"{config}.py"), str(folder / f"{checkpoint}.pth")]

    return {
        "small": model("small", "small", "small"),
        "deep": model("deep.2", "deep", "deep"),
        "wrong": model("wrong", "deep", "small"),
    }


def write_folder(root: Path, truths: tuple[str, ...]) -> Path:
    rng = np.random.default_rng(0)
    for name, (height, width) in SIZES.items():
        level = np.linspace(0, 1, width)[None].repeat(height, axis=0)
        trimap = np.where(level < 0.2, 0, np.where(level > 0.8, 255, 128))
        files = {"image": rng.integers(0, 256, (height, width, 3)), "trimap": trimap}
        if name in truths:
            files["alpha"] = np.rint(255 * level)
        for folder, pixels in files.items():
            path = root / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels.astype(np.uint8))
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data", ("a", "sub/c"))


def arguments(folder: Path, *models: list[str]) -> list[str]:
    """The command line but for the program."""
    options = ["--data-dir", str(folder), "--output", str(folder.parent / "out"), "--device", "cpu"]
    return [*options, *(part for model in models for part in model)]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def test_sheets_mattes_scores_and_measurements(folder: Path, networks: dict, capfd: pytest.CaptureFixture):
    assert compare.main(arguments(folder, networks["small"], networks["deep"])) == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    assert "| small | 3 |" in printed.out and "| deep.2 | 3 |" in printed.out
    assert "mean over 2 images with ground truth" in printed.out and "3 sheets in" in printed.out
    out = folder.parent / "out"
    record = json.loads((out / "compare.json").read_text())
    assert [model["label"] for model in record["models"]] == ["small", "deep.2"]
    for model in record["models"]:
        assert model["images"] == 3 and not model["failures"] and model["device"] == "cpu"
        assert model["seconds"] > 0 and model["peak_bytes"] > 10**8
        assert model["megapixels"] == pytest.approx(sum(height * width for height, width in SIZES.values()) / 1e6)
    assert [image["name"] for image in record["images"]] == sorted(SIZES)
    for image in record["images"]:
        assert read_image(out / image["sheet"]).shape[1] % (5 if image["scores"] else 4) == 0
        assert set(image["scores"]) == (set() if image["name"] == "b" else {"small", "deep.2"})
    _, _, config, checkpoint = networks["deep"]
    predictor = Predictor(build_model(config), checkpoint, device="cpu")
    trimap = read_alpha(folder / "trimap/sub/c.png")
    expected = np.rint(255 * predictor.predict(read_image(folder / "image/sub/c.png"), trimap))
    alpha = read_alpha(out / "mattes/deep.2/sub/c.png")
    assert np.abs(alpha - expected).max() <= 1
    scores = score_pair(alpha, read_alpha(folder / "alpha/sub/c.png"), trimap)
    assert record["images"][2]["scores"]["deep.2"] == scores.__dict__
    assert not list(out.rglob("*.tmp"))


def test_bad_files_and_a_bad_model_cost_only_themselves(
    folder: Path, networks: dict, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
):
    (folder / "image/b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "alpha/a.png").write_bytes(b"nothing")
    cv2.imwrite(str(folder / "trimap/sub/c.png"), np.full((70, 64), 255, np.uint8))
    models = networks["small"], networks["wrong"]
    assert compare.main([*arguments(folder, *models), "--tta"]) == 1
    found = errors(caplog)
    assert len(found) == 3 and not any("\n" in message for message in found)
    assert found[0].startswith("b: ") and "image/b.png: damaged or incomplete" in found[0]
    assert found[1].startswith("wrong: ") and "does not fit ViTMatte" in found[1]
    assert found[2].startswith("a: not scored: ") and "alpha/a.png: is not a JPEG, PNG" in found[2]
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and "no unknown pixels" in warnings[0]
    printed = capfd.readouterr()
    assert "| wrong | failed: " in printed.out and "Traceback" not in printed.err
    record = json.loads((folder.parent / "out/compare.json").read_text())
    assert [image["name"] for image in record["images"]] == ["a", "sub/c"]
    assert not any(image["scores"] for image in record["images"])
    assert set(record["failures"]) == {"a", "b", "wrong"}
    assert record["settings"]["tta"] is True


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--device", "toaster"], "toaster"),
        (["--dtype", "fp16"], "fp16 is not computed on a CPU"),
        (["--max-tokens", "-1"], "--max-tokens must be at least 0, got -1"),
        (["--max-memory", "much"], "'much' is not an amount of memory"),
        (["--data", "nowhere"], "nowhere: is not a folder"),
        (["--model", "x", "nowhere.py", "y.pth"], "--model x: nowhere.py: no such config file"),
        (["--model", "x", __file__, "y.pth"], "--model x: y.pth: no such checkpoint file"),
        (["--model", "../x", __file__, __file__], "--model '../x': a name has letters, digits"),
        (["--model", "SMALL", __file__, __file__], "the names small, deep.2, SMALL are not all different"),
        (["--output", __file__], "cannot be written to"),
    ],
)
def test_wrong_arguments(folder: Path, networks: dict, caplog, more: list[str], message: str):
    assert compare.main([*arguments(folder, networks["small"], networks["deep"]), *more]) == 2
    (error,) = errors(caplog)
    assert message in error and "\n" not in error


def test_one_model_is_no_comparison(folder: Path, networks: dict, caplog):
    assert compare.main(arguments(folder, networks["small"])) == 2
    assert errors(caplog) == ["there is nothing to compare: give --model at least twice"]


def test_outputs_never_meet_inputs(folder: Path, networks: dict, caplog):
    (folder.parent / "out").mkdir()
    (folder.parent / "out/sheets").symlink_to(folder / "image")
    assert compare.main(arguments(folder, networks["small"], networks["deep"])) == 2
    assert "would overwrite an input" in errors(caplog)[0]


def test_nothing_readable(folder: Path, networks: dict, caplog):
    for path in folder.rglob("image/**/*.png"):
        path.write_bytes(b"bad")
    assert compare.main(arguments(folder, networks["small"], networks["deep"])) == 2
    assert len(errors(caplog)) == 4 and errors(caplog)[-1] == "no image can be read"


@pytest.mark.parametrize(
    ("code", "output", "expected"),
    [
        (-9, "", "killed, as it happens where memory runs out"),
        (3, "", "ended with exit code 3"),
        (0, "", "exit code 0"),
    ],
)
def test_process_that_dies_is_a_failed_model(
    folder: Path, networks: dict, monkeypatch: pytest.MonkeyPatch, caplog, code: int, output: str, expected: str
):
    monkeypatch.setattr(run.subprocess, "run", lambda *_, **__: run.subprocess.CompletedProcess([], code, output))
    assert compare.main(arguments(folder, networks["small"], networks["deep"])) == 2
    assert [expected in error for error in errors(caplog)] == [True, True, False]
    assert errors(caplog)[-1] == "no model ran"


def test_interrupted(folder: Path, networks: dict, monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setattr(run.subprocess, "run", lambda *_, **__: run.subprocess.CompletedProcess([], 130, ""))
    assert compare.main(arguments(folder, networks["small"], networks["deep"])) == 130
    assert not (folder.parent / "out/compare.json").exists()


def test_image_that_one_model_fails_on_is_left_out_of_the_means(
    folder: Path, networks: dict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """A call replaces the process; the second model fails on image a."""

    def call(_: list[str], input: str, **__) -> run.subprocess.CompletedProcess:
        request = json.loads(input)
        answer = worker.work(request)
        if request["label"] == "deep.2":
            (Path(request["output"]) / "a.png").unlink()
            answer |= {"images": 2, "failures": {"a": "out of memory"}}
        return run.subprocess.CompletedProcess([], 0, json.dumps(answer))

    monkeypatch.setattr(run.subprocess, "run", call)
    assert compare.main(arguments(folder, networks["small"], networks["deep"])) == 1
    assert "mean over 1 images with ground truth" in capsys.readouterr().out
    record = json.loads((folder.parent / "out/compare.json").read_text())
    scores = {image["name"]: image["scores"] for image in record["images"]}
    assert set(scores["a"]) == {"small"}
    assert record["models"][0]["mean_scores"]["sad"] == scores["sub/c"]["small"]["sad"]
    assert record["failures"] == {"deep.2: a": "out of memory"}


def test_worker_refuses_a_budget_that_is_too_small(networks: dict, tmp_path: Path):
    _, label, config, checkpoint = networks["small"]
    settings = {"device": "cpu", "dtype": "auto", "max_tokens": 10, "max_memory": "1MB", "tta": False}
    request = {"label": label, "config": config, "checkpoint": checkpoint, "pairs": [], "output": str(tmp_path)}
    with pytest.raises(ValueError, match="allow more memory"):
        worker.work({**request, "settings": settings})


def test_means_are_over_images_that_all_models_have():
    def scores(sad: float) -> Scores:
        return Scores(sad, 2 * sad, 0.0, 1.0, 5)

    answer = {"images": 2, "seconds": 3.0, "megapixels": 1.5, "peak_bytes": 2**31, "failures": {}}
    models = [Model(name, Path(), Path(), answer) for name in "ab"]
    models.append(Model("c", Path(), Path(), {"error": "does not fit"}))
    images = [
        Compared("1", "", {"a": scores(1), "b": scores(3)}),
        Compared("2", "", {"a": scores(9)}),
        Compared("3", "", {"a": scores(2), "b": scores(5)}),
    ]
    common = scored_by_all(models, images)
    assert [image.name for image in common] == ["1", "3"]
    assert mean_scores("a", common) == {"sad": 1.5, "mse": 3.0, "grad": 0.0, "conn": 1.0}
    lines = table(models, images).splitlines()
    assert lines[2] == "| a | 2 | 3.00 | 2.00 | 2.00 | 1.50 | 3.00 | 0.00 | 1.00 |"
    assert lines[4] == "| c | failed: does not fit |  |  |  |  |  |  |  |"
    assert len({line.count("|") for line in lines[:5]}) == 1
