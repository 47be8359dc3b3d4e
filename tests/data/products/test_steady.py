import cv2
import numpy as np
import pytest

from data.products.steady import Steady

SIZE = (96, 128)
PANEL = cv2.resize(np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8), (320, 192))


def frame(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A brown disc that moves over a panel, and its alpha."""
    alpha = np.zeros(SIZE, np.float32)
    cv2.circle(alpha, (40 + 2 * number, 48), 20, 1.0, -1, cv2.LINE_AA)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 2)
    picture = PANEL[:96, :128].astype(np.float32)
    picture += (np.float32([150, 90, 50]) - picture) * alpha[..., None]
    return np.rint(picture).astype(np.uint8), alpha


def trimap_of(alpha: np.ndarray) -> np.ndarray:
    unknown = cv2.dilate(((alpha > 0.01) & (alpha < 0.99)).astype(np.uint8), np.ones((7, 7))) > 0
    return np.where(unknown, 128, np.where(alpha > 0.5, 255, 0)).astype(np.uint8)


def flickering(alpha: np.ndarray, trimap: np.ndarray, number: int) -> np.ndarray:
    noise = np.random.default_rng(number).normal(0, 0.08, SIZE).astype(np.float32)
    return np.where(trimap == 128, np.clip(alpha + noise, 0, 1), alpha)


def test_flicker_falls_and_known_pixels_stay() -> None:
    steady, errors, before = Steady(0.8), {"alone": [], "steady": []}, None
    for number in range(6):
        image, alpha = frame(number)
        trimap = trimap_of(alpha)
        alone = flickering(alpha, trimap, number)
        guided = steady(image, trimap, alone)
        assert np.array_equal(guided[trimap != 128], alone[trimap != 128])
        now = {"alone": alone, "steady": guided}
        for name in errors if before else ():
            change = (now[name] - before[name]) - (alpha - before["true"])
            errors[name].append(float(np.sqrt((change[trimap == 128] ** 2).mean())))
        before = {**now, "true": alpha}
    assert np.mean(errors["steady"]) < 0.75 * np.mean(errors["alone"])


def test_a_cut_and_a_new_size_begin_anew() -> None:
    steady = Steady(0.8)
    image, alpha = frame(0)
    steady(image, trimap_of(alpha), alpha)
    other = np.full_like(alpha, 0.3)
    unknown = np.full(SIZE, 128, np.uint8)
    assert np.array_equal(steady(255 - image, unknown, other), other)
    assert steady(image[:50], unknown[:50], other[:50]).shape == (50, 128)


def test_a_still_frame_is_kept_and_strength_zero_changes_nothing() -> None:
    image, alpha = frame(0)
    unknown = np.full(SIZE, 128, np.uint8)
    for strength, expected in ((0.5, 0.55), (0.0, 0.6)):
        steady = Steady(strength)
        steady(image, unknown, np.full_like(alpha, 0.5))
        found = steady(image, unknown, np.full_like(alpha, 0.6))
        assert found.mean() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (17, 9)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    steady = Steady(0.5)
    for _ in range(2):
        alpha = steady(np.zeros((*size, 3), np.uint8), np.full(size, 128, np.uint8), np.full(size, 0.5, np.float32))
    assert alpha.shape == size


def test_strengths_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"strength 1\.0 is out of range"):
        Steady(1.0)
