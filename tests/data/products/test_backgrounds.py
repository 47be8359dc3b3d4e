import cv2
import numpy as np
import pytest

from data.files import FileError
from data.products.backgrounds import Background


@pytest.mark.parametrize("text, colour", [("white", (1, 1, 1)), ("#336699", (0.2, 0.4, 0.6))])
def test_colours(text, colour):
    assert np.allclose(Background.parse(text).picture("a", 3, 4), np.broadcast_to(colour, (3, 4, 3)))


@pytest.mark.parametrize("height, width", [(10, 40), (40, 10), (20, 30), (7, 7)])
def test_a_picture_covers_and_is_cut_evenly(tmp_path, height, width):
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[9:11, 14:16] = 255
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    shown = Background.parse(str(tmp_path / "a.png")).picture("x", height, width)
    assert shown.shape == (height, width, 3)
    rows, columns = np.nonzero(shown[..., 0] > 0.1)
    assert abs(rows.mean() - (height - 1) / 2) <= 1
    assert abs(columns.mean() - (width - 1) / 2) <= 1


def test_a_folder_gives_each_name_always_the_same(tmp_path):
    for value in range(4):
        cv2.imwrite(str(tmp_path / f"{value}.png"), np.full((3, 3, 3), 60 * value, np.uint8))
    names = [f"image{number}" for number in range(30)] + ["\udcff no UTF-8"]
    first, again = (
        [background.picture(name, 3, 3)[0, 0, 0] for name in names]
        for background in (Background.parse(str(tmp_path)), Background.parse(str(tmp_path)))
    )
    assert first == again
    assert len(set(first)) == 4


def test_what_is_no_background_is_refused(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    (tmp_path / "empty").mkdir()
    for text in ("no_such_colour", str(tmp_path / "broken.png"), str(tmp_path / "empty")):
        with pytest.raises(FileError):
            Background.parse(text)
