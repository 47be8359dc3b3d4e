"""Split by object, drawings and validation composites."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.files import FileError, read_alpha, read_image, read_trimap
from data.prepare.free_set import Drawing, ValidationComposite, draw_held_out, object_of
from tests.data.folders import disc, waves


@pytest.mark.parametrize(
    "stem, name",
    [("oak_1", "oak"), ("oak_12_a", "oak"), ("lake_c2", "lake"), ("fern", "fern"), ("f22_rap", "f22_rap"), ("7", "7")],
)
def test_views_of_one_object(stem: str, name: str) -> None:
    assert object_of(stem) == name


def test_no_object_is_on_both_sides() -> None:
    stems = [f"{name}_{view}" for name in "abcdefghij" for view in range(3)]
    held_out = draw_held_out(stems, 0.2, np.random.default_rng(1))
    assert 6 <= len(held_out) < 10
    assert {object_of(stem) for stem in held_out}.isdisjoint(object_of(stem) for stem in stems if stem not in held_out)
    assert held_out == draw_held_out(stems[::-1], 0.2, np.random.default_rng(1))


def test_a_drawing_is_made_once(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "texture.png"), waves(60, 60))
    drawing = Drawing("solid", 3, tmp_path / "texture.png", tmp_path / "solid_0.webp")
    assert drawing.make() and not drawing.make()
    pixels = cv2.imread(str(drawing.target), cv2.IMREAD_UNCHANGED)
    assert pixels.shape[2] == 4 and 384 <= max(pixels.shape) < 768


@pytest.fixture
def cutout(tmp_path: Path) -> Path:
    rgba = np.dstack([waves(120, 160), cv2.blur(disc(120, 160), (9, 9))])
    cv2.imwrite(str(tmp_path / "cut.png"), rgba)
    cv2.imwrite(str(tmp_path / "back.png"), waves(50, 300, 3))
    for folder in ("original", "trimap", "mask"):
        (tmp_path / "out" / folder).mkdir(parents=True)
    return tmp_path / "cut.png"


def composite(cutout: Path, max_side_px: int) -> ValidationComposite:
    root = cutout.parent
    return ValidationComposite("x", cutout, root / "back.png", 4, max_side_px, root / "out")


@pytest.mark.parametrize("max_side_px, size", [(500, (120, 160)), (80, (60, 80))])
def test_a_composite_has_what_its_files_say(cutout: Path, max_side_px: int, size: tuple[int, int]) -> None:
    assert composite(cutout, max_side_px).make()
    out = cutout.parent / "out"
    alpha, trimap = read_alpha(out / "mask/x.png"), read_trimap(out / "trimap/x.png")
    assert alpha.shape == trimap.shape == read_image(out / "original/x.png").shape[:2] == size
    assert (alpha[trimap == 255] == 255).all() and (alpha[trimap == 0] == 0).all()
    assert ((trimap == 128) >= ((alpha > 0) & (alpha < 255))).all()


def test_what_is_finished_stays(cutout: Path) -> None:
    assert composite(cutout, 80).make() and not composite(cutout, 80).make()


def test_nothing_unknown_is_refused(cutout: Path) -> None:
    cv2.imwrite(str(cutout), np.dstack([waves(20, 20), np.full((20, 20), 255, np.uint8)]))
    with pytest.raises(FileError, match=r"cut\.png: nothing of it is unknown"):
        composite(cutout, 80).make()
