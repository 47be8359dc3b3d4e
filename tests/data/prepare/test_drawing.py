"""Drawn pictures: their alpha is the coverage, and blurring keeps it exact."""

import numpy as np
import pytest

from data.prepare.drawing import FINE, Canvas, defocus, finished, inside, move, noise, outline

BLACK, RED = np.zeros(3), np.array([200, 30, 10])


def square(side: float) -> np.ndarray:
    return np.array([[4, 4], [4 + side, 4], [4 + side, 4 + side], [4, 4 + side]])


def test_coverage_is_the_area() -> None:
    canvas = Canvas(40, 50)
    canvas.polygon(square(24), RED)
    area = canvas.picture()[..., 3].sum()
    assert area == pytest.approx((24 + 1 / FINE) ** 2, rel=0.02)  # OpenCV fills the cells on the outline too


def test_a_picture_is_premultiplied_and_finished_straight() -> None:
    canvas = Canvas(30, 30)
    canvas.curve(np.array([[3.0, 3.0], [26.0, 20.0]]), 1.2, RED)
    picture = canvas.picture()
    soft = (picture[..., 3] > 0.2) & (picture[..., 3] < 0.8)
    assert soft.sum() > 10
    np.testing.assert_allclose(picture[..., :3], picture[..., 3:] * RED / 255, atol=1e-5)
    straight = finished(picture)
    assert np.abs(straight[..., :3].astype(int) - RED).max() <= 1  # also where nothing was drawn


def test_compositing_the_average_is_averaging_the_composite() -> None:
    """Over any background, a pixel is the mean of its cells."""
    rng = np.random.default_rng(0)
    canvas = Canvas(24, 24)
    for _ in range(30):
        canvas.curve(rng.uniform(0, 24, (4, 2)), rng.uniform(0.3, 2), rng.uniform(0, 255, 3))
    background = rng.random((24, 24, 3))
    picture = canvas.picture()
    composite = picture[..., :3] + (1 - picture[..., 3:]) * background
    fine_background = background.repeat(FINE, 0).repeat(FINE, 1)
    cells = np.where(canvas.cells[..., 3:] > 0, canvas.cells[..., :3] / 255, fine_background)
    expected = cells.reshape(24, FINE, 24, FINE, 3).mean((1, 3))
    np.testing.assert_allclose(composite, expected, atol=1e-5)


@pytest.mark.parametrize("blur", [lambda p: move(p, 9, 0.6), lambda p: defocus(p, 3.3)], ids=["move", "defocus"])
def test_blurring_keeps_the_composite_linear(blur) -> None:
    canvas = Canvas(40, 40)
    canvas.polygon(square(16) + 6, RED)
    picture = canvas.picture()
    blurred = blur(picture)
    assert blurred[..., 3].sum() == pytest.approx(picture[..., 3].sum(), rel=1e-3)
    np.testing.assert_allclose(blurred[..., :3], blurred[..., 3:] * RED / 255, atol=1e-5)
    assert ((blurred[..., 3] > 0.1) & (blurred[..., 3] < 0.9)).sum() > 60


def test_noise_has_the_stated_statistics() -> None:
    values = np.stack([noise(60, 90, 8, np.random.default_rng(seed), octaves=3) for seed in range(20)])
    assert abs(values.mean()) < 0.2 and 0.7 < values.std() < 1.4


def test_an_outline_encloses_its_centre() -> None:
    for seed in range(10):
        points = outline(np.array([50.0, 40.0]), 20, 0.2, np.random.default_rng(seed))
        cover = inside(80, 100, points)
        assert cover[40, 50] == 1 and 0.02 < cover.mean() < 0.6
