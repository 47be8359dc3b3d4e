import logging
import shutil
from pathlib import Path

import pytest

from data.files import IMAGE_SUFFIXES, FileError
from data.folders import find_masked, find_pairs

LAYOUT_FOLDERS = [
    ("merged", "trimaps", "alpha_copy"),
    ("merged", "trimaps", "alpha"),
    ("original", "trimap", "mask"),
    ("image", "trimap", "alpha"),
    ("images", "trimaps", "alphas"),
    ("image", "trimaps", "alphas"),
    ("images", "trimap", "alpha"),
]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(("image", "trimap", "alpha"), LAYOUT_FOLDERS)
@pytest.mark.parametrize("root_name", ["AIM-500", "Composition-1k", "x"])
def test_layout_follows_content_not_spelling(tmp_path, root_name, image, trimap, alpha):
    root = tmp_path / root_name
    for folder in (image, trimap, alpha):
        touch(root / folder / "b.png", root / folder / "a.png")
    pairs = find_pairs(root)
    assert [pair.name for pair in pairs] == ["a", "b"]
    for pair in pairs:
        expected = [root / folder / f"{pair.name}.png" for folder in (image, trimap, alpha)]
        assert [pair.image, pair.trimap, pair.alpha] == expected
        assert not pair.problem


def test_alpha_copy_wins_over_alpha(tmp_path):
    touch(*(tmp_path / folder / "a_0.png" for folder in ("merged", "trimaps", "alpha", "alpha_copy")))
    assert find_pairs(tmp_path)[0].alpha == tmp_path / "alpha_copy" / "a_0.png"


@pytest.mark.parametrize("suffix", [*IMAGE_SUFFIXES, ".JPG", ".Png"])
def test_stems_match_across_suffixes(tmp_path, suffix):
    touch(tmp_path / "image" / f"a.b{suffix}", tmp_path / "trimap" / "a.b.PNG")
    (pair,) = find_pairs(tmp_path)
    assert (pair.name, pair.image.suffix, pair.trimap.name, pair.problem) == ("a.b", suffix, "a.b.PNG", "")


def test_hidden_files_and_non_images_are_left_out(tmp_path):
    touch(tmp_path / "trimap" / "a.png")
    touch(
        *(tmp_path / "image" / name for name in ("a.jpg", ".b.jpg", "._a.jpg", "Thumbs.db", "notes.txt", ".git/c.jpg"))
    )
    assert [pair.name for pair in find_pairs(tmp_path)] == ["a"]


def test_sub_folders_are_mirrored_in_names(tmp_path):
    touch(*(tmp_path / folder / name for folder in ("image", "trimap") for name in ("a.png", "s/a.png", "s/t/ü ü.png")))
    pairs = find_pairs(tmp_path)
    assert [pair.name for pair in pairs] == ["a", "s/a", "s/t/ü ü"]
    assert pairs[1].trimap == tmp_path / "trimap" / "s" / "a.png"


def test_missing_trimap_is_recorded_and_the_others_stay(tmp_path):
    touch(tmp_path / "image" / "a.jpg", tmp_path / "image" / "b.jpg", tmp_path / "trimap" / "a.png")
    good, bad = find_pairs(tmp_path)
    assert not good.problem
    assert bad.trimap is None
    assert bad.problem.startswith(f"no trimap; expected {tmp_path / 'trimap' / 'b'} with any of .jpg")


@pytest.mark.parametrize(("folder", "kind"), [("image", "images"), ("trimap", "trimaps")])
def test_two_files_of_one_name_are_recorded(tmp_path, folder, kind):
    touch(tmp_path / "image" / "a.jpg", tmp_path / "trimap" / "a.jpg", tmp_path / folder / "a.png")
    (pair,) = find_pairs(tmp_path)
    assert pair.problem == f"several {kind} of one name (a.jpg, a.png); rename or remove all but one"


def test_trimaps_without_image_are_counted_in_a_warning(tmp_path, caplog):
    touch(*(tmp_path / name for name in ("image/a.png", "trimap/a.png", "trimap/b.png", "trimap/c.png")))
    with caplog.at_level(logging.WARNING):
        assert len(find_pairs(tmp_path)) == 1
    assert "2 trimaps have no image, for example b" in caplog.text


def test_folder_without_images(tmp_path):
    (tmp_path / "image").mkdir()
    touch(tmp_path / "trimap" / "a.png")
    with pytest.raises(FileError, match=r"image: holds no images \(.jpg"):
        find_pairs(tmp_path)


def test_empty_folder_says_what_is_accepted(tmp_path):
    with pytest.raises(FileError) as caught:
        find_pairs(tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message and message.endswith("found: nothing")
    for accepted in ("merged/ + trimaps/", "original/ + trimap/", "image|images/ + trimap|trimaps/"):
        assert accepted in message


def test_unknown_layout_says_what_was_found(tmp_path):
    touch(tmp_path / "merged" / "a.png", tmp_path / "readme.txt")
    with pytest.raises(FileError, match=r"is no dataset folder; .*; found: merged/, readme.txt$"):
        find_pairs(tmp_path)


def test_two_layouts_in_one_folder_are_refused(tmp_path):
    touch(*(tmp_path / folder / "a.png" for folder in ("merged", "trimaps", "original", "trimap")))
    with pytest.raises(FileError, match=r"several layouts \(merged/ \+ trimaps/, original/ \+ trimap/\)"):
        find_pairs(tmp_path)
    shutil.rmtree(tmp_path / "trimap")
    assert len(find_pairs(tmp_path)) == 1


def test_file_in_place_of_folder(tmp_path):
    touch(tmp_path / "a")
    with pytest.raises(FileError, match="a: is not a folder"):
        find_pairs(tmp_path / "a")


def test_files_that_are_not_read_are_counted_and_named(tmp_path, caplog, monkeypatch):
    touch(tmp_path / "image" / "a.png", tmp_path / "trimap" / "a.png")
    with caplog.at_level(logging.WARNING):
        find_pairs(tmp_path)
        assert not caplog.records
        monkeypatch.setattr("data.folders.IMAGE_SUFFIXES", (".png",))
        touch(*(tmp_path / "image" / name for name in ("IMG_1.HEIC", "clip.gif", "s/b.avif")))
        find_pairs(tmp_path)
    (record,) = caplog.records
    assert "image: 3 files are not read, being no .png: IMG_1.HEIC, clip.gif, s/b.avif" in record.getMessage()
    assert "pip install pillow-heif" in record.getMessage()


def test_a_plain_folder_is_answered_with_what_is_missing(tmp_path):
    touch(tmp_path / "a.jpg", tmp_path / "b.jpg")
    with pytest.raises(FileError, match=r"holds 2 images but no trimaps, .*\(--mask DIR\)"):
        find_pairs(tmp_path)


def test_loops_of_links_cost_only_themselves(tmp_path):
    touch(*(tmp_path / folder / "a.png" for folder in ("image", "trimap")))
    for folder in ("image", "trimap"):
        (tmp_path / folder / "x.png").symlink_to("x.png")
    assert [pair.name for pair in find_pairs(tmp_path)] == ["a", "x"]
    assert [pair.name for pair in find_masked(tmp_path, tmp_path / "trimap")] == ["a", "x"]
