"""Trimaps, masks and boxes, and every kind of output."""

import cv2
import numpy as np
import pytest

import inference
from data.files import read_alpha
from tests.inference.commands import command, folder_command, last_error


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


@pytest.mark.parametrize(("value", "warning"), [(0, "has no unknown pixels"), (128, "marks every pixel as unknown")])
def test_trimaps_of_one_value(dataset, checkpoint, caplog, value, warning):
    cv2.imwrite(str(dataset / "trimap" / "0.png"), np.full((40, 50), value, np.uint8))
    assert inference.main(folder_command(checkpoint, dataset)) == 0
    assert any(warning in message and "0.png" in message for message in caplog.messages)
    if value == 0:
        assert read_alpha(dataset.parent / "out" / "0.png").max() == 0


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


def test_single_output_must_be_png(dataset, checkpoint, capsys, caplog):
    files = ["--image", dataset / "image" / "0.jpg", "--trimap", dataset / "trimap" / "0.png", "--output", "a.jpg"]
    assert inference.main(command(checkpoint, *files)) == 2
    assert "--output a.jpg: alphas are written as PNG" in last_error(capsys, caplog)
