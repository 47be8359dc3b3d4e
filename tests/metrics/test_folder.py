"""Matching of files, reading of odd files, and scores of whole folders."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from metrics.folder import Entry, label_stem, match_folders, read_entry, read_matte, score_folder
from metrics.scores import score_pair

COMPOSITES = ["cat-1288531_1920_0", "cat-1288531_1920_19", "woman-952506_1920 (1)_7", "16452523375_08591714cf_o_3"]
FOREGROUNDS = ["cat-1288531_1920", "woman-952506_1920 (1)", "16452523375_08591714cf_o"]


def write(folder: Path, name: str, seed: int = 0, size: tuple[int, int] = (12, 16)) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    if folder.name == "trimap":
        array = np.where(array < 80, 0, np.where(array > 200, 255, 128)).astype(np.uint8)
    assert cv2.imwrite(str(folder / name), array)
    return array


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    return tmp_path / "pred", tmp_path / "label", tmp_path / "trimap"


def test_composition_1k_names(folders):
    pred, label, trimap = folders
    for name in COMPOSITES:
        write(pred, f"{name}.png")
        write(trimap, f"{name}.png")
    for name in FOREGROUNDS:
        write(label, f"{name}.png")
    for matching in (match_folders(*folders), match_folders(pred, label, whole_image=True)):
        assert not (matching.problems or matching.missing or matching.unused)
        assert {entry.name: entry.label.stem for entry in matching.entries} == {
            "cat-1288531_1920_0": "cat-1288531_1920",
            "cat-1288531_1920_19": "cat-1288531_1920",
            "woman-952506_1920 (1)_7": "woman-952506_1920 (1)",
            "16452523375_08591714cf_o_3": "16452523375_08591714cf_o",
        }


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("cat-1288531_1920", {"cat-1288531_1920", "cat-1288531"}, "cat-1288531_1920"),
        ("cat-1288531_1920_4", {"cat-1288531_1920", "cat-1288531"}, "cat-1288531_1920"),
        ("cat-1288531_1920_4", {"cat-1288531_1920_4", "cat-1288531_1920"}, "cat-1288531_1920_4"),
        ("cat-1288531_1920_4", {"cat-1288531"}, None),
        ("cat_a4", {"cat"}, None),
        ("woman (1)", {"woman"}, None),
    ],
)
def test_an_index_is_cut_off_once_and_only_if_needed(name, labels, expected):
    assert label_stem(name, labels) == expected


def test_suffixes_may_differ(folders):
    pred, label, trimap = folders
    write(pred, "a.b.png")
    write(label, "a.b.BMP")
    write(trimap, "a.b.tiff")
    (entry,) = match_folders(*folders).entries
    assert (entry.pred.name, entry.label.name, entry.trimap.name) == ("a.b.png", "a.b.BMP", "a.b.tiff")


def test_what_does_not_fit_is_named(folders):
    pred, label, trimap = folders
    for folder in folders:
        write(folder, "good.png")
        write(folder, ".hidden.png")
    write(pred, "extra.png")
    write(pred, "good_rgba.png")  # written beside an alpha, and no prediction
    write(pred, "extra_rgba.png")
    write(trimap, "no_label.png")
    write(label, "no_trimap.png")
    write(label, "no_pred.png")
    write(trimap, "no_pred.png")
    for name in ("twice.png", "twice.bmp"):
        write(pred, name)
    write(label, "twice.png")
    write(trimap, "twice.png")
    matching = match_folders(*folders)
    assert [entry.name for entry in matching.entries] == ["good"]
    assert matching.missing == ["no_pred"]
    assert matching.unused == ["extra", "extra_rgba"]
    problems = {problem.name: problem.error for problem in matching.problems}
    assert problems.keys() == {"no_label", "no_trimap", "twice"}
    assert "no label" in problems["no_label"]
    assert "no trimap" in problems["no_trimap"]
    assert "twice.bmp and twice.png" in problems["twice"]


def test_whole_image_finds_missing_predictions_too(folders):
    pred, label, _ = folders
    write(pred, "cat_0.png")
    write(label, "cat.png")
    write(label, "dog.png")
    matching = match_folders(pred, label, whole_image=True)
    assert [entry.name for entry in matching.entries] == ["cat_0"]
    assert matching.missing == ["dog"]


def test_folders_must_be_there_and_hold_images(folders):
    pred, label, _ = folders
    write(pred, "a.png")
    with pytest.raises(ValueError, match="label is not a folder"):
        match_folders(*folders)
    label.mkdir()
    (label / "notes.txt").write_text("none")
    with pytest.raises(ValueError, match="label holds no image files"):
        match_folders(*folders)
    with pytest.raises(ValueError, match="no trimap folder"):
        match_folders(pred, label)


@pytest.mark.parametrize("workers", [1, 2])
def test_scores_of_a_folder(folders, workers):
    expected = {}
    for seed, name in enumerate(("b", "a", "c")):
        arrays = [write(folder, f"{name}.png", seed + 10 * i) for i, folder in enumerate(folders)]
        expected[name] = score_pair(*arrays)
    (folders[0] / "c.png").write_bytes(b"no image")
    calls = []
    result = score_folder(*folders, workers=workers, progress=lambda done, total: calls.append((done, total)))
    assert [image.name for image in result.images] == ["a", "b", "c"]
    assert {image.name: image.scores for image in result.scored} == {name: expected[name] for name in "ab"}
    assert [image.name for image in result.errors] == ["c"]
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert result.mean["mse"] == pytest.approx((expected["a"].mse + expected["b"].mse) / 2, rel=1e-15)


def test_undefined_images_are_left_out_of_the_mean(folders):
    for name in "ab":
        for i, folder in enumerate(folders):
            write(folder, f"{name}.png", i)
    cv2.imwrite(str(folders[2] / "b.png"), np.full((12, 16), 255, np.uint8))
    result = score_folder(*folders)
    assert result.without_unknown == ["b"]
    assert result.mean["mse"] == result.scored[0].scores.mse
    (folders[0] / "a.png").unlink()
    assert score_folder(*folders).mean is None


def test_the_first_stored_channel_is_read(tmp_path):
    """Red of colours, also with opacity or a palette; never grey."""
    first, other = np.full((3, 4), 10, np.uint8), np.full((3, 4), 200, np.uint8)
    for name, planes in (("rgb", [other, other, first]), ("rgba", [other, other, first, other])):
        cv2.imwrite(str(tmp_path / f"{name}.png"), cv2.merge(planes))  # OpenCV stores BGR arrays as RGB files
        np.testing.assert_array_equal(read_matte(tmp_path / f"{name}.png", "prediction"), first)


def test_depths_other_than_8_bits_are_refused(tmp_path):
    path = tmp_path / "x.png"
    cv2.imwrite(str(path), np.full((3, 4), 40000, np.uint16))
    with pytest.raises(ValueError, match=r"prediction .*x\.png: has 16 bits"):
        read_matte(path, "prediction")
    cv2.imwrite(str(path), np.full((3, 4), 255, np.uint8), [cv2.IMWRITE_PNG_BILEVEL, 1])
    with pytest.raises(ValueError, match=r"prediction .*x\.png: has 1 bit per pixel"):
        read_matte(path, "prediction")
    assert (read_matte(path, "label", binary_ok=True) == 255).all()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    write(tmp_path, path.name, size=(64, 64))
    data = path.read_bytes()
    for size in (0, len(data) // 2, len(data) - 12):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=rf"x\.{suffix}: (damaged or incomplete|is empty)"):
            read_matte(path, "label")


def test_trimap_values(tmp_path):
    path = tmp_path / "t.png"
    values = np.array([[0, 25, 26, 102, 128, 229, 230, 255]], np.uint8)
    cv2.imwrite(str(path), values)
    entry = Entry("t", path, path, path)
    with pytest.raises(ValueError, match=r"t\.png: the trimap holds .* \(25, 26, 102, .*--snap-trimap"):
        read_entry(entry)
    assert read_entry(entry, snap_trimap=True)[2].tolist() == [[0, 0, 128, 128, 128, 128, 255, 255]]
