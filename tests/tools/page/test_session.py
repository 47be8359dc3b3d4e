import base64
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.bands import Band
from data.files import read_alpha
from data.masks import Width
from modeling import Predictor
from modeling.inference.predictor import Matte
from tests.modeling.small import small_mematte
from tools.page.session import COLOURS, KINDS, VIEW_PX, Marks, Session, band_of


def url(layer: np.ndarray) -> str:
    data = cv2.imencode(".png", layer[..., [2, 1, 0, 3]])[1].tobytes()
    return "data:image/png;base64," + base64.b64encode(data).decode()


def layer(size: tuple[int, int] = (80, 120), **parts: tuple[slice, slice]) -> np.ndarray:
    drawn = np.zeros((*size, 4), np.uint8)
    for name, part in parts.items():
        drawn[part] = (*COLOURS[name], 255)
    return drawn


@pytest.fixture
def session(tmp_path: Path) -> Session:
    picture = np.full((80, 120, 3), (60, 120, 60), np.uint8)
    cv2.circle(picture, (60, 40), 20, (30, 120, 220), -1)
    cv2.imwrite(str(tmp_path / "ball.png"), picture)
    return Session.open(tmp_path / "ball.png")


@pytest.fixture
def marks() -> Marks:
    return Marks.from_layer(layer(object=np.s_[38:43, 55:66], surroundings=np.s_[4:8, 4:110]))


def test_marks_are_read_by_colour() -> None:
    drawn = layer(object=np.s_[40, 60], surroundings=np.s_[10, 5], unknown=np.s_[70, 100])
    drawn[20:50, 20], drawn[20:50, 90], drawn[20, 20:91], drawn[49, 20:91] = [(*COLOURS["box"], 255)] * 4
    marks = Marks.parse(url(drawn), (80, 120))
    assert (marks.strokes[40, 60], marks.strokes[10, 5], np.count_nonzero(marks.strokes)) == (255, 128, 2)
    assert marks.unknown[70, 100]
    assert marks.unknown.sum() == 1
    assert [box.pixels(800, 1200) for box in marks.boxes] == [(200, 500, 200, 910)]


@pytest.mark.parametrize("text", ["x", "data:image/png;base64,%%%", "data:text/html;base64,AAAA", url(layer((9, 9)))])
def test_other_marks_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the marks"):
        Marks.parse(text, (80, 120))
    assert not Marks.parse("", (80, 120)).strokes.any()


def test_a_trimap_comes_from_strokes_boxes_or_files_and_marks_correct_it(
    session: Session, marks: Marks, tmp_path: Path
) -> None:
    fixed = Band(Width(3), Width(3))
    by_strokes = session.make_trimap(marks, fixed)
    assert (by_strokes[40, 60], by_strokes[2, 2], by_strokes[40, 40]) == (255, 0, 128)
    nothing = Marks.parse("", (80, 120))
    with pytest.raises(ValueError, match="draw a box around the object, or a stroke on it"):
        session.make_trimap(nothing, fixed)
    cv2.imwrite(str(tmp_path / "trimap.png"), by_strokes)
    unknown = Marks.from_layer(layer(unknown=np.s_[0:5, 0:5], object=np.s_[70:75, 0:5]))
    corrected = session.make_trimap(unknown, fixed, trimap=tmp_path / "trimap.png")
    assert (corrected[:5, :5] == 128).all()
    assert (corrected[70:75, :5] == 255).all()
    assert np.array_equal(corrected[6:69], by_strokes[6:69])
    cv2.imwrite(str(tmp_path / "small.png"), by_strokes[:40])
    with pytest.raises(ValueError, match="they must be the same"):
        session.make_trimap(nothing, fixed, trimap=tmp_path / "small.png")


def test_strokes_of_the_surroundings_alone_ask_for_one_on_the_object(session: Session) -> None:
    only = Marks.from_layer(layer(surroundings=np.s_[4:8, 4:110]))
    with pytest.raises(ValueError, match="no stroke marks the object"):
        session.make_trimap(only, Band())


def test_views_and_files_of_a_matte(session: Session, marks: Marks, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make a trimap first"):
        session.run(Predictor(small_mematte(), device="cpu"))
    trimap = session.make_trimap(marks, band_of(5))
    with pytest.raises(ValueError, match="run the network first"):
        session.write(next(iter(KINDS)), tmp_path)
    predictor = Predictor(small_mematte(), device="cpu")
    shares: list[float] = []
    matte = session.run(predictor, shares.append)
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    assert "120 x 80 pixels in" in session.summary(predictor)
    assert session.alpha_view().shape == (80, 120)
    assert session.cutout_view().shape == session.trimap_view().shape == (80, 120, 3)
    assert session.loupe(0.0, 1.0).shape == (160, 320, 3)
    assert [view.shape[2] for view, _ in session.routing_views()] == [3, 3]
    written = [session.write(kind, tmp_path) for kind in KINDS]
    assert [path.name for path in written] == ["ball_alpha8.png", "ball_alpha16.png", "ball_rgba.png", "ball_rgba.exr"]
    assert np.abs(read_alpha(written[0]) / 255 - matte.alpha).max() < 0.003
    assert set(np.unique(trimap)) == {0, 128, 255}
    with pytest.raises(ValueError, match="is no kind of file"):
        session.write("../x", tmp_path)


def test_strips_have_views_too(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "strip.png"), np.zeros((6, 17 * VIEW_PX, 3), np.uint8))
    strip = Session.open(tmp_path / "strip.png")
    strip.trimap = np.full((6, 17 * VIEW_PX), 128, np.uint8)
    strip.matte = Matte(np.zeros(strip.trimap.shape, np.float32), [np.ones((1, 17 * VIEW_PX // 16 + 1), bool)])
    assert strip.routing_views()[0][0].shape == (1, VIEW_PX, 3)


def test_large_photographs_get_a_reduced_view_and_too_large_ones_a_sentence(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((20, 4 * VIEW_PX, 3), np.uint8))
    assert Session.open(tmp_path / "wide.png").view.shape == (5, VIEW_PX, 3)
    data = bytearray(cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes())
    data[16:24] = (20_000).to_bytes(4, "big") + (10_000).to_bytes(4, "big")  # declares 200 megapixels
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"has 200 megapixels; the page takes up to 80"):
        Session.open(tmp_path / "huge.png")
