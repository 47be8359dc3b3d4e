"""Whole runs of inference.py: folders, one image, processes, resumption."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import evaluation
import inference
from data.files import read_alpha, read_image
from engine.build import build_model
from modeling import Predictor
from tests.inference.commands import (
    CONFIG,
    LAYOUTS,
    REPOSITORY,
    TINY,
    command,
    folder_command,
    last_error,
    save_checkpoint,
    scene,
    write_dataset,
)
from tools import cli

PUBLISHED = (
    "--config-dir ./configs/MEMatte_S_topk0.25_win_global_long.py --checkpoint-dir ./checkpoints/X.pth "
    "--inference-dir ./predAlpha/test --data-dir ./Datasets/{root} --max-number-token 18000"
)


@pytest.fixture(scope="module")
def published_checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("published") / "X.pth", [])


@pytest.mark.parametrize("root", LAYOUTS)
def test_published_command_then_evaluation(tmp_path, monkeypatch, capsys, checkpoint, published_checkpoint, root):
    """Published sizes in one layout; a small network reads the others."""
    overrides = [] if root == "Composition-1k" else TINY
    monkeypatch.chdir(tmp_path)
    Path("configs").symlink_to(REPOSITORY / "configs")
    Path("checkpoints").mkdir()
    Path("checkpoints/X.pth").symlink_to(checkpoint if overrides else published_checkpoint)
    data = Path("Datasets") / root
    write_dataset(data, LAYOUTS[root], suffix=".png" if root == "Composition-1k" else ".jpg")

    assert inference.main([*shlex.split(PUBLISHED.format(root=root)), *overrides]) == 0
    summary = capsys.readouterr().out.splitlines()
    assert len(summary) == 1 and summary[0].startswith("2 done, 0 failed, 0 skipped in ")
    assert " megapixels per second, " in summary[0] and "% of tokens in full attention, peak memory " in summary[0]
    for index, size in enumerate(((40, 50), (33, 31))):
        alpha, (_, trimap, _) = read_alpha(f"predAlpha/test/{index}.png"), scene(size)
        assert alpha.dtype == np.uint8 and alpha.shape == size
        assert (alpha[trimap == 0] == 0).all() and (alpha[trimap == 255] == 255).all()

    _, trimaps, alphas = LAYOUTS[root]
    scoring = f"--pred-dir predAlpha/test --label-dir {data / alphas} --trimap-dir {data / trimaps} --workers 1"
    assert evaluation.main([*shlex.split(scoring), "--json", "scores.json"]) == 0
    assert Path("scores.json").is_file()


def test_as_a_program(dataset, checkpoint):
    """With names of files that would forge lines of the log."""
    for name in ("bad", "a\nERROR: all is lost\x1b[2J"):
        for kind in ("image", "trimap"):
            (dataset / kind / f"{name}.png").write_bytes(b"bad")
    arguments = [sys.executable, REPOSITORY / "inference.py", *folder_command(checkpoint, dataset)]
    result = subprocess.run(arguments, capture_output=True, text=True, cwd=dataset.parent, timeout=120)
    assert result.returncode == 1
    assert result.stdout.startswith("2 done, 2 failed, 0 skipped")
    errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
    assert len(errors) == 2 and any(line.startswith("ERROR: bad: ") for line in errors)
    assert "\\nERROR: all is lost\\x1b[2J: " in result.stderr and "\x1b" not in result.stderr
    assert "Traceback" not in result.stderr


def test_two_processes_share_a_folder_and_do_each_file_once(tmp_path, checkpoint, capsys):
    sizes = [(40, 50), (33, 31), (24, 40), (47, 30), (32, 32)]
    write_dataset(tmp_path / "data", LAYOUTS["photos"], sizes)
    alone = command(checkpoint, "--data", tmp_path / "data", "--output-dir", tmp_path / "alone")
    assert inference.main(alone) == 0
    capsys.readouterr()

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    shared = [REPOSITORY / "inference.py", *folder_command(checkpoint, tmp_path / "data", "--overwrite")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*torchrun, *shared], capture_output=True, text=True, env=environment, timeout=300)
    assert result.returncode == 0, result.stderr
    done = [int(count) for count in re.findall(r"(\d+) done, 0 failed, 0 skipped", result.stdout)]
    assert sorted(done) == [2, 3]  # with --overwrite, a file that both take would count twice
    files = {path.name: path.read_bytes() for path in (tmp_path / "alone").iterdir()}
    assert len(files) == len(sizes)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files


def test_resume_and_overwrite(dataset, checkpoint, capsys):
    for options, expected in (
        [[], "2 done, 0 failed, 0 skipped"],
        [[], "0 done, 0 failed, 2 skipped"],
        [["--resume"], "0 done, 0 failed, 2 skipped"],
        [["--overwrite"], "2 done, 0 failed, 0 skipped"],
    ):
        assert inference.main(folder_command(checkpoint, dataset, *options)) == 0
        assert capsys.readouterr().out.startswith(expected)


def test_interrupted_run_keeps_what_is_finished(dataset, checkpoint, monkeypatch, capsys, caplog):
    matte = Predictor.run

    def interrupted(self, image, trimap, name):
        if image.shape[0] == 33:
            raise KeyboardInterrupt
        return matte(self, image, trimap, name)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "run", interrupted)
        assert inference.main(folder_command(checkpoint, dataset)) == 130
    assert "interrupted; finished files are complete" in last_error(capsys, caplog)
    assert os.listdir(dataset.parent / "out") == ["0.png"]
    assert inference.main(folder_command(checkpoint, dataset)) == 0
    assert capsys.readouterr().out.startswith("1 done, 0 failed, 1 skipped")


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_single_image(dataset, checkpoint, bit_depth, capsys):
    output = dataset.parent / "deep" / "alpha.png"
    files = ["--image", dataset / "image" / "0.jpg", "--trimap", dataset / "trimap" / "0.png", "--output", output]
    for _ in range(2):  # an output that was asked for by name is always made
        assert inference.main(command(checkpoint, *files, "--bit-depth", bit_depth)) == 0
        assert capsys.readouterr().out.startswith("1 done")
    assert read_alpha(output).shape == (40, 50)
    assert read_alpha(output).itemsize * 8 == bit_depth


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (15, 17)])
def test_tiny_images(tmp_path, checkpoint, size):
    write_dataset(tmp_path / "data", LAYOUTS["photos"], [size], ".png")
    cv2.imwrite(str(tmp_path / "data" / "trimap" / "0.png"), np.full(size, 128, np.uint8))
    assert inference.main(folder_command(checkpoint, tmp_path / "data")) == 0
    assert read_alpha(tmp_path / "out" / "0.png").shape == size


def test_tta_averages_eight_views(dataset, checkpoint):
    assert inference.main(folder_command(checkpoint, dataset, "--tta", "--bit-depth", "16")) == 0
    predictor = Predictor(build_model(CONFIG, TINY), checkpoint, device="cpu")
    image, trimap = read_image(dataset / "image" / "0.jpg"), read_alpha(dataset / "trimap" / "0.png")
    mean = 0
    for turns in range(4):
        turned = np.rot90(image, turns), np.rot90(trimap, turns)
        mirrored = predictor.predict(*map(np.fliplr, turned))
        mean = mean + np.rot90(predictor.predict(*turned), -turns) + np.rot90(np.fliplr(mirrored), -turns)
    written = read_alpha(dataset.parent / "out" / "0.png")
    assert np.abs(written / 65535 - mean / 8).max() < 2e-5
    assert np.abs(written / 65535 - predictor.predict(image, trimap)).max() > 1e-3


def test_without_a_checkpoint_the_shipped_model_is_used_and_named(dataset, checkpoint, monkeypatch, capsys, caplog):
    output = ["--data", str(dataset), "--output-dir", str(dataset.parent / "out"), "--device", "cpu"]
    monkeypatch.setattr(cli, "SHIPPED", dataset / "weights/nothing.safetensors")
    assert inference.main(output) == 2
    assert "the shipped model" in caplog.text and "nothing.safetensors is not there" in caplog.text
    assert inference.main([*output, "--config", CONFIG]) == 2
    assert "--config-dir needs --checkpoint-dir" in caplog.text

    monkeypatch.setattr(cli, "SHIPPED", checkpoint)
    monkeypatch.setattr("engine.build.shipped_config", lambda path: Path(CONFIG))
    assert inference.main([*output, *TINY]) == 0
    assert "using the shipped model" in caplog.text and "done" in capsys.readouterr().out
