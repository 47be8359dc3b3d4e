import cv2
import numpy as np
import pytest

from data import deciding
from data.deciding import decide, hold

SIDE = 160


def disc(radius: int, side: int = SIDE) -> np.ndarray:
    return cv2.circle(np.zeros((side, side), np.uint8), (side // 2, side // 2), radius, 255, -1)


def band(inner: int, outer: int, side: int = SIDE) -> np.ndarray:
    trimap = np.where(disc(inner, side) > 0, np.uint8(255), np.uint8(128))
    trimap[disc(outer, side) == 0] = 0
    return trimap


def of_a_disc(radius: int) -> deciding.Solve:
    """Solver that finds a soft disc, whatever the picture shows."""
    return lambda image, *_: cv2.GaussianBlur(disc(radius, len(image)), (0, 0), 1.0) / np.float32(255)


def likeness(value: float = np.nan) -> np.ndarray:
    return np.full((SIDE, SIDE), value, np.float32)


PICTURE = np.zeros((SIDE, SIDE, 3), np.uint8)


def test_what_the_solver_decides_is_known_and_its_outline_is_not() -> None:
    trimap = band(20, 60)
    decide(PICTURE, disc(36), trimap, likeness(), of_a_disc(40))
    line = trimap[80, 80:]
    assert (line[:36] == 255).all()  # beyond the mask too
    assert (line[38:43] == 128).all()
    assert (line[47:] == 0).all()
    assert (trimap == 128).sum() < 0.5 * (band(20, 60) == 128).sum()


def test_known_pixels_and_soft_values_stay_as_they_are() -> None:
    values, trimap = disc(40), band(30, 50)
    values[70:74, 45:49] = 77
    trimap[values == 77] = 128
    decide(PICTURE, values, trimap, likeness(), of_a_disc(25))
    assert (trimap[values == 77] == 128).all()
    assert (trimap[disc(30) > 0] == np.where(values == 77, 128, 255)[disc(30) > 0]).all()
    assert (trimap[disc(50) == 0] == 0).all()


@pytest.mark.parametrize("level", [0, 255])
def test_a_band_beside_one_side_only_stays(level: int) -> None:
    trimap = np.full((SIDE, SIDE), 128, np.uint8)
    trimap[:20] = level
    before = trimap.copy()
    decide(PICTURE, disc(40), trimap, likeness(), lambda *_: pytest.fail("nothing to solve"))
    assert np.array_equal(trimap, before)


def test_large_pictures_are_solved_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "SOLVED_PX", 40)
    sizes = []

    def solve(image: np.ndarray, *others: np.ndarray) -> np.ndarray:
        sizes.extend([image.shape[:2], *(other.shape for other in others)])
        return of_a_disc(10)(image)

    trimap = band(20, 60)
    decide(PICTURE, disc(40), trimap, likeness(), solve)
    assert set(sizes) == {(40, 40)}
    line = trimap[80, 80:]
    assert (line[:20] == 255).all()
    assert (line[36:44] == 128).all()
    assert (line[60:] == 0).all()


def test_a_mask_holds_far_from_its_edge_unless_colours_contradict_it() -> None:
    mask, radius = disc(45), np.hypot(*(np.indices((SIDE, SIDE)) - SIDE // 2))
    near, inside, outside = np.abs(radius - 45) < 7, radius < 12, radius > 80
    plain = hold(mask, likeness())
    assert (plain[near] == 0).all()
    assert (plain[inside | outside] == 1).all()
    of_object, of_surroundings = hold(mask, likeness(1.0)), hold(mask, likeness(0.0))
    assert np.array_equal(of_object[mask > 0], plain[mask > 0])
    assert np.array_equal(of_surroundings[mask == 0], plain[mask == 0])
    assert np.allclose(of_surroundings[inside], 1e-2)
    assert np.allclose(of_object[outside], 1e-6)  # looser still: hair is lost more easily than background is seen
