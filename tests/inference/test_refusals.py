"""Damaged inputs, wrong arguments and hostile checkpoints: one line each."""

import os
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import inference
from data.files import read_alpha
from engine.build import build_model
from tests.inference.commands import (
    CONFIG,
    LAYOUTS,
    REPOSITORY,
    TINY,
    command,
    folder_command,
    last_error,
    scene,
    write_dataset,
)
from tools.reference.weights import fill_


def break_image(dataset):
    (dataset / "image" / "0.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))


def truncate_png(dataset):
    image = scene((40, 50))[0]
    (dataset / "image" / "0.jpg").unlink()
    (dataset / "image" / "0.png").write_bytes(cv2.imencode(".png", image)[1].tobytes()[:-200])


def remove_trimap(dataset):
    (dataset / "trimap" / "0.png").unlink()


def resize_trimap(dataset):
    cv2.imwrite(str(dataset / "trimap" / "0.png"), np.zeros((50, 40), np.uint8))


def block_output(dataset):
    (dataset.parent / "out" / "0.png").mkdir(parents=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_image, "image/0.jpg: damaged or incomplete image"),
        (truncate_png, "image/0.png: damaged or incomplete image"),
        (remove_trimap, "no trimap; expected"),
        (resize_trimap, "trimap is 40 x 50 but image is 50 x 40 (width x height); resize the trimap first"),
        (block_output, "out/0.png: cannot be written (it is a folder, a pipe or a device)"),
    ],
)
def test_one_bad_pair_fails_alone(dataset, checkpoint, caplog, capsys, damage, message):
    damage(dataset)
    assert inference.main(folder_command(checkpoint, dataset)) == 1
    assert capsys.readouterr().out.startswith("1 done, 1 failed, 0 skipped")
    (error,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert error.startswith("0: ") and message in error and "\n" not in error
    assert read_alpha(dataset.parent / "out" / "1.png").shape == (33, 31)


def test_empty_folder(tmp_path, checkpoint, capsys, caplog):
    (tmp_path / "data").mkdir()
    assert inference.main(folder_command(checkpoint, tmp_path / "data")) == 2
    assert "is no dataset folder; it must hold one of" in last_error(capsys, caplog)


def test_output_that_cannot_be_written(dataset, checkpoint, capsys, caplog):
    (dataset.parent / "out").touch()
    assert inference.main(folder_command(checkpoint, dataset)) == 2
    assert "out: cannot be written to (File exists)" in last_error(capsys, caplog)


def test_wrong_checkpoint(dataset, tmp_path, capsys, caplog):
    torch.save({"model": {"some.weight": torch.zeros(3)}}, tmp_path / "wrong.pth")
    assert inference.main(folder_command(tmp_path / "wrong.pth", dataset)) == 2
    message = last_error(capsys, caplog)
    assert "wrong.pth does not fit MEMatte" in message and "unexpected: some.weight" in message


def test_missing_checkpoint(dataset, tmp_path, capsys, caplog):
    assert inference.main(folder_command(tmp_path / "none.pth", dataset)) == 2
    assert "none.pth: no such checkpoint file" in last_error(capsys, caplog)


class Attack:
    """Pickle that creates a folder 'attacked' when loaded carelessly."""

    def __reduce__(self):
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize(
    "save", [lambda data, path: torch.save(data, path), lambda data, path: path.write_bytes(pickle.dumps(data, 2))]
)
def test_malicious_pickle(dataset, tmp_path, monkeypatch, capsys, caplog, save):
    monkeypatch.chdir(tmp_path)
    save({"model": Attack()}, tmp_path / "evil.pth")
    assert inference.main(folder_command(tmp_path / "evil.pth", dataset)) == 2
    message = last_error(capsys, caplog)
    assert "evil.pth: refused" in message and "run code" in message
    assert not Path("attacked").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["model.backbone.embed_dm=48"], "unknown override 'model.backbone.embed_dm'"),
        (["--dtype", "fp16"], "fp16 is not computed on a CPU"),
        (["--device", "toaster"], "toaster"),
        (["--max-tokens", "-1"], "max_tokens must be at least 0"),
        (["--config", "nowhere.py"], "nowhere.py: no such config file"),
        (
            ["--image", "a.png"],
            "give either --data-dir and --inference-dir, or --image, --trimap (or --mask, or --box) and --output",
        ),
        (["--output-dir", "data/image"], "would overwrite an input"),
        (["--data", "nowhere"], "nowhere: is not a folder"),
    ],
)
def test_wrong_arguments(dataset, checkpoint, monkeypatch, capsys, caplog, more, message):
    write_dataset(dataset, LAYOUTS["photos"], suffix=".png")
    for path in (dataset / "image").glob("*.jpg"):
        path.unlink()
    monkeypatch.chdir(dataset.parent)
    assert inference.main(folder_command(checkpoint, dataset, *more)) == 2
    assert message in last_error(capsys, caplog)


@pytest.mark.parametrize("output", ["", ".", "/"])
def test_an_output_without_a_name(dataset, checkpoint, output, capsys, caplog):
    assert inference.main(command(checkpoint, "--image", "a.png", "--trimap", "b.png", "--output", output)) == 2
    assert last_error(capsys, caplog) == "--output is empty or a folder; name a file for the result"


def test_help_says_that_configs_are_code(capsys):
    with pytest.raises(SystemExit) as caught:
        inference.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "A config is Python code, and is run" in text and "--max-number-token" in text


@pytest.mark.parametrize("arguments", [["--bit-depth", "12"], ["--dtype", "fp8"], ["--nope"]])
def test_arguments_that_argparse_refuses(dataset, checkpoint, arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        inference.main(folder_command(checkpoint, dataset, *arguments))
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_summary_does_not_replace_the_weights_of_a_folder(dataset, tmp_path, caplog):
    weights = tmp_path / "hub" / "model.safetensors"
    weights.parent.mkdir()
    shutil.copy(REPOSITORY / "weights" / "MEMatte_T.safetensors", weights)
    before = weights.stat().st_size
    options = ["--data", str(dataset), "--output-dir", str(tmp_path / "out"), "--device", "cpu", "--json", str(weights)]
    assert inference.main(["--checkpoint", str(weights.parent), *options]) == 2
    assert "model.safetensors: the output would overwrite an input" in caplog.text
    assert weights.stat().st_size == before


def test_a_checkpoint_of_a_stranger_chooses_among_the_shipped_configs(dataset, tmp_path, capsys, caplog):
    tensors = {name: value.contiguous() for name, value in fill_(build_model(CONFIG, TINY).state_dict()).items()}
    options = ["--data", str(dataset), "--output-dir", str(tmp_path / "out"), "--device", "cpu", *TINY]
    save_file(tensors, tmp_path / "a.safetensors", {"config": Path(CONFIG).stem})
    assert inference.main(["--checkpoint", str(tmp_path / "a.safetensors"), *options]) == 0
    assert capsys.readouterr().out.startswith("2 done")
    save_file(tensors, tmp_path / "a.safetensors", {"config": str(tmp_path / "evil.py")})
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'attacked')!r}, 'w')")
    assert inference.main(["--checkpoint", str(tmp_path / "a.safetensors"), *options, "--overwrite"]) == 2
    assert "which is not among those of this repository" in last_error(capsys, caplog)
    assert not (tmp_path / "attacked").exists()
