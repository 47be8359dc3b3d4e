from pathlib import Path

import cv2
import numpy as np
import pytest

from tools.make_trimap import main, parse


@pytest.fixture
def mask() -> np.ndarray:
    return cv2.circle(np.zeros((60, 80), np.uint8), (40, 30), 20, 255, -1)


def test_one_file_with_preview(tmp_path, mask):
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.full((60, 80, 3), 128, np.uint8))
    arguments = [tmp_path / "m.png", tmp_path / "out/t.png", "--inner", "3", "--outer", "10%"]
    arguments += ["--preview", tmp_path / "out/p.png", "--image", tmp_path / "photo.jpg"]
    assert main([*map(str, arguments)]) == 0
    trimap = cv2.imread(str(tmp_path / "out/t.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(trimap)) == {0, 128, 255}
    preview = cv2.imread(str(tmp_path / "out/p.png"))
    unknown = preview[trimap == 128]
    assert (unknown[:, 2] > unknown[:, 0]).all()  # red on grey


def test_a_folder_is_mirrored_and_resumed(tmp_path, mask):
    (tmp_path / "masks/sub").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "masks/a.png"), mask)
    cv2.imwrite(str(tmp_path / "masks/sub/b.jpg"), mask)
    arguments = [str(tmp_path / "masks"), str(tmp_path / "out"), "--workers", "1"]
    assert main(arguments) == 0
    stamp = (tmp_path / "out/sub/b.png").stat().st_mtime_ns
    (tmp_path / "out/a.png").unlink()
    assert main(arguments) == 0
    assert (tmp_path / "out/a.png").is_file() and (tmp_path / "out/sub/b.png").stat().st_mtime_ns == stamp


def test_pictures_of_others_are_never_overwritten(tmp_path, mask, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    for folder in ("masks", "out"):
        Path(folder).mkdir()
        cv2.imwrite(f"{folder}/a.png", mask)
    before = Path("out/a.png").read_bytes()
    assert main(["masks", "out", "--workers", "1"]) == 2
    assert "out/a.png: is a picture that no earlier run wrote" in caplog.text
    assert Path("out/a.png").read_bytes() == before
    assert main(["masks", "out", "--workers", "1", "--overwrite"]) == 0


def test_only_trimaps_of_the_same_settings_and_mask_are_finished(tmp_path, mask, monkeypatch):
    """Those of another band must be made anew."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "masks").mkdir()
    cv2.imwrite("masks/a.png", mask)

    def made(*options):
        before = (tmp_path / "out/a.png").stat().st_mtime_ns if (tmp_path / "out/a.png").exists() else 0
        assert main(["masks", "out", "--workers", "1", *options]) == 0
        return (tmp_path / "out/a.png").stat().st_mtime_ns != before

    assert made("--band", "3") and not made("--band", "3")
    narrow = np.count_nonzero(cv2.imread("out/a.png", 0) == 128)
    assert made("--band", "9") and np.count_nonzero(cv2.imread("out/a.png", 0) == 128) > 2 * narrow
    assert made("--seed", "1") and made("--seed", "2") and not made("--seed", "2")
    cv2.imwrite("masks/a.png", mask[:-1])
    assert made("--seed", "2") and cv2.imread("out/a.png").shape[0] == 59
    (tmp_path / "out/a.png").write_bytes((tmp_path / "out/a.png").read_bytes()[:-20])
    assert made("--seed", "2")
    assert made("--seed", "2", "--preview", "seen") and not made("--seed", "2", "--preview", "seen")
    cv2.imwrite("seen/a.png", mask)  # another picture of that name
    assert made("--seed", "2", "--preview", "seen")


@pytest.mark.parametrize("options", ["masks/out", "out --preview masks/seen", "masks/out --kind instances"])
def test_outputs_among_the_masks_are_no_masks_of_the_next_run(tmp_path, mask, monkeypatch, caplog, options):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "masks").mkdir()
    cv2.imwrite("masks/a.png", mask)
    for _ in range(2):
        caplog.clear()
        caplog.set_level("INFO")
        assert main(["masks", *options.split(), "--workers", "1"]) == 0
        assert "from 1 masks" in caplog.text


def test_what_boxes_cannot_do_is_said_with_the_name_of_the_photograph(tmp_path, caplog):
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos/a.png"), np.zeros((40, 50, 3), np.uint8))
    assert main([str(tmp_path / "photos"), str(tmp_path / "out"), "--box", "60,60,9,9", "--workers", "1"]) == 1
    assert "photos/a.png: box 60,60,9,9 lies outside the picture" in caplog.text


def test_instances_get_a_trimap_each(tmp_path):
    labels = np.zeros((40, 80), np.uint8)
    labels[5:35, 5:35], labels[5:35, 45:75] = 3, 9
    cv2.imwrite(str(tmp_path / "m.png"), labels)
    assert main([str(tmp_path / "m.png"), str(tmp_path / "t.png"), "--kind", "instances", "--band", "2"]) == 0
    assert sorted(path.name for path in tmp_path.glob("t*.png")) == ["t_3.png", "t_9.png"]


def test_bad_files_cost_one_line_each(tmp_path, mask, caplog):
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks/good.png"), mask)
    cv2.imwrite(str(tmp_path / "masks/empty.png"), mask * 0)
    (tmp_path / "masks/broken.png").write_bytes(b"\x89PNG")
    assert main([str(tmp_path / "masks"), str(tmp_path / "out"), "--workers", "1"]) == 1
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 2 and any("empty" in line for line in errors) and any("broken" in line for line in errors)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


@pytest.mark.parametrize("count", ["999999", "1025", "0", "-1", "two", "1" * 5000, "²"])
def test_senseless_numbers_of_processes_are_refused(count, capsys):
    with pytest.raises(SystemExit) as error:
        parse(["masks", "out", "--workers", count])
    assert error.value.code == 2
    assert "is no number of processes: give at least 1, at most 1024" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        "no.png t.png",
        "m.png t.jpg",
        "m.png t.png --inner -1",
        "m.png t.png --seed -1",
        "x" * 300 + " t.png --strokes m.png",
    ],
)
def test_wrong_arguments_exit_with_2(tmp_path, mask, arguments, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("m.png", mask)
    try:
        code = main(arguments.split())
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["m.png"]


@pytest.mark.parametrize(
    "extra",
    [
        ["one.png"],
        ["t.png", "--preview", "one.png"],
        ["t.png", "--preview", "x/../t.png"],
        ["link.png"],
        ["folder", "--kind", "instances"],
    ],
)
def test_an_output_over_an_input_is_refused_before_any_work(tmp_path, mask, monkeypatch, caplog, extra):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("one.png", mask)
    (tmp_path / "link.png").symlink_to("one.png")
    if extra[0] == "folder":
        (tmp_path / "masks").mkdir()
        for name in ("one.png", "one_255.png"):
            cv2.imwrite(f"masks/{name}", mask)
        (tmp_path / "folder").symlink_to("masks")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    assert main(["masks" if extra[0] == "folder" else "one.png", *extra, "--overwrite", "--workers", "1"]) == 2
    assert "would overwrite" in caplog.text
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before


def test_boxes_and_strokes_make_trimaps_of_photographs(tmp_path):
    photograph = np.full((80, 120, 3), (60, 120, 60), np.uint8)
    cv2.circle(photograph, (60, 40), 20, (30, 120, 220), -1)
    strokes = np.zeros((80, 120, 4), np.uint8)
    strokes[38:43, 55:66], strokes[4:8, 4:110] = (0, 255, 0, 255), (0, 0, 255, 255)
    for name, pixels in (("photo.png", photograph), ("strokes.png", strokes)):
        cv2.imwrite(str(tmp_path / name), pixels)
    for name, options in (("a.png", ["--box", "30,10,60,60"]), ("b.png", ["--strokes", str(tmp_path / "strokes.png")])):
        assert main([str(tmp_path / "photo.png"), str(tmp_path / name), *options, "--band", "4"]) == 0
        trimap = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
        assert (trimap[40, 60], trimap[2, 2], trimap[40, 40]) == (255, 0, 128)
    with pytest.raises(SystemExit):
        parse(["photo.png", "a.png", "--box", "1,2"])
