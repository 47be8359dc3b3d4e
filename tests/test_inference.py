import os
import pickle
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import evaluation
import inference
from data.files import read_alpha, read_image
from engine.build import build_model
from modeling import Predictor
from tools import cli
from tools.reference.weights import fill_

REPOSITORY = Path(inference.__file__).parent
PUBLISHED = (
    "--config-dir ./configs/MEMatte_S_topk0.25_win_global_long.py --checkpoint-dir ./checkpoints/X.pth "
    "--inference-dir ./predAlpha/test --data-dir ./Datasets/{root} --max-number-token 18000"
)
CONFIG = str(REPOSITORY / "configs" / "MEMatte_S_topk0.25_win_global_long.py")
TINY = (
    "model.backbone.embed_dim=48 model.backbone.depth=3 model.backbone.global_blocks=[2] model.decoder.feature_chans=48"
).split()
LAYOUTS = {
    "Composition-1k": ("merged", "trimaps", "alpha_copy"),
    "AIM-500": ("original", "trimap", "mask"),
    "photos": ("image", "trimap", "alpha"),
}


@pytest.fixture(scope="module")
def published_checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("published") / "X.pth", [])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny.pth", TINY)


def save_checkpoint(path, overrides):
    torch.save({"model": fill_(build_model(CONFIG, overrides).state_dict())}, path)
    return path


def scene(size):
    """RGB image, trimap and alpha of a soft disc."""
    rows, cols = np.mgrid[: size[0], : size[1]]
    distance = np.hypot(rows - size[0] / 2, cols - size[1] / 2) / max(size)
    alpha = np.clip((0.35 - distance) * 8, 0, 1)
    trimap = np.where(distance < 0.15, 255, np.where(distance > 0.4, 0, 128)).astype(np.uint8)
    colour = np.dstack([alpha * 200 + 20, rows % 256, cols % 256]).astype(np.uint8)
    return colour, trimap, np.rint(alpha * 255).astype(np.uint8)


def write_dataset(root, folders, sizes=((40, 50), (33, 31)), suffix=".jpg"):
    for index, size in enumerate(sizes):
        image, trimap, alpha = scene(size)
        for folder, pixels in zip(folders, (image[..., ::-1], trimap, alpha), strict=True):
            (root / folder).mkdir(parents=True, exist_ok=True)
            name = f"{index}{suffix if folder == folders[0] else '.png'}"
            cv2.imwrite(str(root / folder / name), pixels)


@pytest.fixture
def dataset(tmp_path):
    write_dataset(tmp_path / "data", LAYOUTS["photos"])
    return tmp_path / "data"


def command(checkpoint, *more):
    return ["--config", CONFIG, "--checkpoint", str(checkpoint), "--device", "cpu", *map(str, more), *TINY]


def folder_command(checkpoint, dataset, *more):
    return command(checkpoint, "--data", dataset, "--output-dir", dataset.parent / "out", *more)


def last_error(capsys, caplog):
    """The one line that the user gets."""
    assert not capsys.readouterr().out
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "\n" not in message
    return message


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


@pytest.mark.parametrize(("value", "warning"), [(0, "has no unknown pixels"), (128, "marks every pixel as unknown")])
def test_trimaps_of_one_value(dataset, checkpoint, caplog, value, warning):
    cv2.imwrite(str(dataset / "trimap" / "0.png"), np.full((40, 50), value, np.uint8))
    assert inference.main(folder_command(checkpoint, dataset)) == 0
    assert any(warning in message and "0.png" in message for message in caplog.messages)
    if value == 0:
        assert read_alpha(dataset.parent / "out" / "0.png").max() == 0


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


def test_single_output_must_be_png(dataset, checkpoint, capsys, caplog):
    files = ["--image", dataset / "image" / "0.jpg", "--trimap", dataset / "trimap" / "0.png", "--output", "a.jpg"]
    assert inference.main(command(checkpoint, *files)) == 2
    assert "--output a.jpg: alphas are written as PNG" in last_error(capsys, caplog)


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


def test_masks_instead_of_trimaps_and_every_kind_of_output(tmp_path, checkpoint):
    (tmp_path / "photos/sub").mkdir(parents=True)
    (tmp_path / "masks/sub").mkdir(parents=True)
    mask = cv2.circle(np.zeros((70, 90), np.uint8), (45, 35), 20, 255, -1)
    for name in ("a", "sub/b"):
        cv2.imwrite(str(tmp_path / f"photos/{name}.jpg"), np.full((70, 90, 3), 90, np.uint8))
        cv2.imwrite(str(tmp_path / f"masks/{name}.png"), mask)
    options = ["--data", tmp_path / "photos", "--mask", tmp_path / "masks", "--output-dir", tmp_path / "out"]
    kinds = ["--output-kind", "alpha,rgba,composite,preview", "--background", "#102030", "--depth", "16"]
    assert inference.main(command(checkpoint, *options, *kinds)) == 0
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    endings = ["", "_composite", "_preview", "_rgba"]
    assert written == [f"{name}{ending}.png" for name in ("a", "sub/b") for ending in endings]
    cutout = cv2.imread(str(tmp_path / "out/a_rgba.png"), cv2.IMREAD_UNCHANGED)
    assert cutout.dtype == np.uint16 and (cutout[35, 45] == (90 * 257, 90 * 257, 90 * 257, 65535)).all()
    assert cutout[0, 0, 3] == 0
    assert (cv2.imread(str(tmp_path / "out/a_composite.png"))[0, 0] == (0x30, 0x20, 0x10)).all()


def test_boxes_instead_of_masks_for_one_image_and_for_a_folder(tmp_path, checkpoint, caplog):
    photograph = np.full((70, 90, 3), (60, 120, 60), np.uint8)
    cv2.circle(photograph, (45, 35), 20, (30, 120, 220), -1)
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos/a.png"), photograph)
    single = ["--image", tmp_path / "photos/a.png", "--output", tmp_path / "a.png", "--box", "20,10,50,50"]
    assert inference.main(command(checkpoint, *single, "--output-kind", "rgba")) == 0
    alpha = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)[..., 3]
    assert (alpha[35, 45], alpha[2, 2]) == (255, 0)
    folder = ["--data", tmp_path / "photos", "--output-dir", tmp_path / "out"]
    assert inference.main(command(checkpoint, *folder)) == 2
    assert "holds photographs without trimaps; give a folder of masks (--mask DIR), or a box" in caplog.text
    assert inference.main(command(checkpoint, *folder, "--box", "20%,10%,60%,80%", "--band", "4")) == 0
    assert read_alpha(tmp_path / "out/a.png")[35, 45] == 255
    assert inference.main(command(checkpoint, *folder, "--box", "200%,10%,60%,80%", "--overwrite")) == 1
    assert "lies outside the picture" in caplog.text
    assert inference.main(command(checkpoint, *folder, "--box", "20,10")) == 2
    assert "'20,10' is no box: write x,y,width,height" in caplog.text


@pytest.mark.parametrize(
    "wrong, reason",
    [
        (["--output-kind", "composite"], "belong together"),
        (["--output-kind", "alpha,x"], "at most once"),
        (["--background", "nowhere"], "neither a file"),
        (["--output-kind", "rgba", "--format", "exr", "--depth", "16"], "depth half or float"),
    ],
)
def test_outputs_that_cannot_be_made_are_refused(dataset, tmp_path, checkpoint, capsys, caplog, wrong, reason):
    options = ["--data", dataset, "--output-dir", tmp_path / "out"]
    assert inference.main(command(checkpoint, *options, *wrong)) == 2
    assert reason in last_error(capsys, caplog)
    assert not (tmp_path / "out").exists()


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
