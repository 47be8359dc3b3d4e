import logging

import cv2
import numpy as np
import pytest

from tools.make_cutout import main


@pytest.fixture
def files(tmp_path):
    for folder in ("photos", "alphas"):
        (tmp_path / folder).mkdir()
    alpha = cv2.GaussianBlur(cv2.circle(np.zeros((40, 50), np.uint8), (25, 20), 12, 255, -1), (7, 7), 2)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"photos/{name}.png"), np.full((40, 50, 3), 77, np.uint8))
        cv2.imwrite(str(tmp_path / f"alphas/{name}.png"), alpha)
    return tmp_path


def run(folder, *more: str) -> int:
    return main([str(folder / "photos"), str(folder / "alphas"), str(folder / "out"), *more])


def test_a_folder_and_again(files, caplog):
    caplog.set_level(logging.INFO)
    assert run(files, "--output-kind", "rgba,composite", "--background", "white", "--depth", "16") == 0
    assert len(list((files / "out").iterdir())) == 4
    cut = cv2.imread(str(files / "out/a_rgba.png"), cv2.IMREAD_UNCHANGED)
    assert cut.dtype == np.uint16 and tuple(cut[20, 25]) == (77 * 257, 77 * 257, 77 * 257, 65535)
    assert run(files, "--output-kind", "rgba,composite", "--background", "white", "--depth", "16") == 0
    assert "0 made, 2 there already" in caplog.text


def test_pictures_of_others_are_never_overwritten(files, caplog):
    (files / "out").mkdir()
    cv2.imwrite(str(files / "out/b.png"), np.zeros((4, 4), np.uint8))
    assert run(files) == 2 and "out/b.png: is a picture that no earlier run wrote" in caplog.text
    assert run(files, "--overwrite") == 0


@pytest.mark.parametrize("other", [["--depth", "16"], ["--premultiplied"], ["--output-kind", "foreground"]])
def test_files_of_other_settings_are_made_again(files, caplog, other):
    caplog.set_level(logging.INFO)
    for more, expected in (([], "2 made, 0 there"), (other, "2 made, 0 there"), (other, "0 made, 2 there")):
        assert run(files, *more) == 0
        assert expected in caplog.messages[-1]


def test_an_empty_file_is_not_finished(files, caplog):
    caplog.set_level(logging.INFO)
    assert run(files) == 0
    (files / "out/a.png").write_bytes(b"")
    assert run(files) == 0
    assert "1 made, 1 there already" in caplog.messages[-1]


@pytest.mark.parametrize("victim", ["photos/a.png", "alphas/b.png", "out/a.png"])
def test_the_summary_overwrites_nothing(files, victim, caplog):
    before = (files / victim).read_bytes() if (files / victim).exists() else None
    assert run(files, "--json", str(files / victim)) == 2
    assert "would overwrite" in caplog.text
    assert ((files / victim).read_bytes() if (files / victim).exists() else None) == before


def test_one_file_as_exr(files):
    single = [str(files / name) for name in ("photos/a.png", "alphas/a.png", "cut.exr")]
    assert main([*single, "--format", "exr"]) == 0
    assert (files / "cut.exr").is_file()


def test_bad_files_cost_one_line_and_leave_nothing(files, caplog):
    (files / "alphas/a.png").write_bytes(b"\x89PNG")
    cv2.imwrite(str(files / "alphas/b.png"), np.zeros((4, 4), np.uint8))
    assert run(files) == 1
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 2
    assert list((files / "out").iterdir()) == []


@pytest.mark.parametrize("wrong", [["--output-kind", "alpha"], ["--output-kind", "composite"], ["--depth", "half"]])
def test_wrong_arguments_exit_with_2(files, wrong):
    assert run(files, *wrong) == 2
    assert not (files / "out").exists()
