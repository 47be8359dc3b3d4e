import cv2
import numpy as np
import pytest

from data.folders import find_pairs
from data.prepare.uhr395 import tiles
from tools.prepare_uhr395 import main

SOFT = cv2.GaussianBlur(cv2.circle(np.zeros((80, 120), np.uint8), (60, 40), 20, 255, -1), (9, 9), 3)


@pytest.fixture
def source(tmp_path):
    """Two pictures to train on and one to test with, without trimaps."""
    for split, names in (("train", ("a", "b")), ("test", ("c",))):
        for folder in ("images", "alpha"):
            (tmp_path / "raw" / split / folder).mkdir(parents=True)
        for number, name in enumerate(names):
            picture = np.full((80, 120, 3), 50 * number + 40, np.uint8)
            cv2.imwrite(str(tmp_path / "raw" / split / "images" / f"{name}.jpg"), picture)
            cv2.imwrite(str(tmp_path / "raw" / split / "alpha" / f"{name}.png"), SOFT)
    return tmp_path / "raw"


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_layout_can_be_read_by_inference(source, tmp_path):
    assert main([str(source), str(tmp_path / "out"), "--workers", "1"]) == 0
    assert files(tmp_path / "out") == [
        "test/alpha_copy/c.png",
        "test/merged/c.jpg",
        "test/trimaps/c.png",
        "train/alpha/a.png",
        "train/alpha/b.png",
        "train/fg/a.jpg",
        "train/fg/b.jpg",
    ]
    assert (tmp_path / "out/train/fg/a.jpg").read_bytes() == (source / "train/images/a.jpg").read_bytes()
    pair = find_pairs(tmp_path / "out/test")[0]
    trimap = cv2.imread(str(pair.trimap), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(trimap)) == {0, 128, 255}
    assert (trimap[(SOFT > 0) & (SOFT < 255)] == 128).all()


def test_the_same_seed_draws_the_same_trimaps(source, tmp_path):
    for name, seed in (("one", "3"), ("two", "3"), ("other", "4")):
        main([str(source), str(tmp_path / name), "--workers", "1", "--seed", seed])
    one, two, other = ((tmp_path / name / "test/trimaps/c.png").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other


def test_reduced_copies_and_tiles(source, tmp_path):
    assert main([str(source), str(tmp_path / "out"), "--long-side", "60", "--tiles", "16", "--workers", "2"]) == 0
    small = cv2.imread(str(tmp_path / "out/train/fg/a.png"))
    assert small.shape == (40, 60, 3)
    made = list((tmp_path / "out/train_tiles/alpha").iterdir())
    assert made and sorted(path.name for path in (tmp_path / "out/train_tiles/fg").iterdir()) == sorted(
        path.name for path in made
    )
    for path in made:
        tile = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert tile.shape == (16, 16) and ((tile > 0) & (tile < 255)).any()


def test_tiles_cover_all_that_is_soft():
    seen = np.zeros(SOFT.shape, bool)
    for _, rows, columns in tiles(SOFT, 32):
        seen[rows, columns] = True
    assert seen[(SOFT > 0) & (SOFT < 255)].all()


def test_bad_pairs_cost_one_line_and_leave_nothing(source, tmp_path, caplog):
    cv2.imwrite(str(source / "train/alpha/a.png"), SOFT[:-1])
    cv2.imwrite(str(source / "test/alpha/c.png"), SOFT * 0)
    (source / "train/alpha/b.png").unlink()
    assert main([str(source), str(tmp_path / "out"), "--workers", "1"]) == 1
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 3
    assert not (tmp_path / "out").exists()


def test_undivided_downloads_need_a_list(source, tmp_path, caplog):
    whole = source / "train"
    assert main([str(whole), str(tmp_path / "out")]) == 2
    (tmp_path / "test.txt").write_text("b.jpg\n")
    assert main([str(whole), str(tmp_path / "out"), "--test-list", str(tmp_path / "test.txt"), "--workers", "1"]) == 0
    assert files(tmp_path / "out") == [
        "test/alpha_copy/b.png",
        "test/merged/b.jpg",
        "test/trimaps/b.png",
        "train/alpha/a.png",
        "train/fg/a.jpg",
    ]
