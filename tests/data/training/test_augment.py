"""Each random step alone: ranges, exact formulas, and the published shares."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.training.augment import (
    AffineSettings,
    ColourMatchSettings,
    CropSettings,
    DefocusSettings,
    JitterSettings,
    canvas_size,
    choose_corner,
    defocus,
    draw_affine,
    jitter_colour,
    match_colours,
)
from tools.reference.composition import affine_inverse


@pytest.mark.parametrize(("size", "turns"), [((1000, 1023), False), ((100, 1024), True)])
def test_affine_ranges(size: tuple[int, int], turns: bool) -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_affine(size, rng, AffineSettings()) for _ in range(400)]
    scales = np.array([[affine.scale_x, affine.scale_y] for affine in drawn])
    angles, shears = (np.rad2deg([getattr(affine, name) for affine in drawn]) for name in ("angle", "shear"))
    assert np.abs(scales).min() >= 0.8 and np.abs(scales).max() <= 1.25
    assert (scales < 0).mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.1)
    assert 9 < np.abs(shears).max() <= 10
    assert np.abs(angles).max() <= 30 and (np.abs(angles).max() > 28) == turns
    assert turns or not angles.any()


def test_affine_matrix_is_the_published_one() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        affine = draw_affine((1200, 1500), rng, AffineSettings())
        expected = affine_inverse(affine.angle, affine.shear, affine.scale_x, affine.scale_y, 1200, 1500)
        assert np.allclose(affine.matrix((1200, 1500))[:2], expected, atol=1e-9)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_crop_always_fits_its_canvas(height: int, width: int) -> None:
    canvas = canvas_size((height, width), CropSettings())
    assert min(canvas) > 512
    assert min(height, width) <= 512 or canvas == (height, width)


@given(st.integers(513, 1500), st.integers(513, 1500), st.integers(0, 2**32 - 1))
def test_the_corner_lies_inside(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    unknown = rng.random((height // 4, width // 4)) < rng.choice([0, 0.01, 1])
    top, left = choose_corner(unknown, (height, width), rng, CropSettings())
    assert 0 <= top <= height - 512 and 0 <= left <= width - 512


def test_the_crop_is_centred_on_an_unknown_pixel() -> None:
    unknown = np.zeros((300, 400), bool)
    unknown[150:154, 200:204] = True
    rng = np.random.default_rng(0)
    corners = {choose_corner(unknown, (1200, 1600), rng, CropSettings()) for _ in range(300)}
    assert corners == {(4 * y - 256, 4 * x - 256) for y in range(150, 154) for x in range(200, 204)}


def test_with_too_few_candidates_the_crop_lies_anywhere() -> None:
    unknown = np.zeros((300, 400), bool)
    unknown[150, 200:209] = True  # nine
    rng = np.random.default_rng(0)
    tops, lefts = np.array([choose_corner(unknown, (1200, 1600), rng, CropSettings()) for _ in range(400)]).T
    assert tops.min() < 30 and tops.max() > 658 and lefts.min() < 50 and lefts.max() > 1038


def test_jitter_is_the_published_formula() -> None:
    rng = np.random.default_rng(3)
    foreground = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    alpha = np.where(rng.random((40, 50)) < 0.5, 0.7, 0).astype(np.float32)
    settings = JitterSettings()
    for seed in range(8):
        numbers = np.random.default_rng(seed)
        shift, draws = int(numbers.integers(-40, 40)), numbers.random(2)
        hsv = cv2.cvtColor(foreground.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = np.remainder(hsv[..., 0] + shift, 360)
        for channel, draw in zip((1, 2), draws, strict=True):
            bar = hsv[..., channel][alpha > 0].mean()
            moved = np.abs(hsv[..., channel] + draw * (1.1 - bar) / 5 - (1.1 - bar) / 10)
            hsv[..., channel] = np.where(moved > 1, 2 - moved, moved)
        expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        jittered = jitter_colour(foreground, alpha, np.random.default_rng(seed), settings)
        assert np.abs(jittered - expected).max() < 1e-4
        assert jittered.min() >= -1e-6 and jittered.max() <= 1 + 1e-6


def test_jitter_leaves_an_invisible_foreground_alone() -> None:
    foreground = np.full((4, 4, 3), 51, np.uint8)
    jittered = jitter_colour(foreground, np.zeros((4, 4), np.float32), np.random.default_rng(0), JitterSettings())
    assert jittered == pytest.approx(np.full((4, 4, 3), 0.2))


def test_a_share_of_the_backgrounds_is_out_of_focus() -> None:
    background = np.random.default_rng(5).random((40, 50, 3), np.float32)
    assert defocus(background, np.random.default_rng(0), DefocusSettings()) is background
    settings = DefocusSettings(probability=0.4, max_blur_px=4.0)
    seen = [defocus(background, np.random.default_rng(seed), settings) for seed in range(200)]
    blurred = [image for image in seen if image is not background]
    assert 60 <= len(blurred) <= 100
    assert max(image.std() for image in blurred) < background.std()
    assert all(image.mean() == pytest.approx(background.mean(), abs=0.02) for image in blurred)


def test_matched_colours_come_closer_to_the_background() -> None:
    rng = np.random.default_rng(3)
    foreground = np.clip(rng.normal(0.7, 0.1, (30, 40, 3)), 0, 1).astype(np.float32)
    background = np.clip(rng.normal(0.3, 0.05, (30, 40, 3)), 0, 1).astype(np.float32)
    alpha = np.zeros((30, 40), np.float32)
    alpha[5:20] = 1
    settings, distances = ColourMatchSettings(probability=1, max_amount=1), []
    for seed in range(30):
        matched = match_colours(foreground, alpha, background, np.random.default_rng(seed), settings)
        assert matched.dtype == np.float32 and 0 <= matched.min() and matched.max() <= 1
        distances.append(abs(matched[5:20].mean() - background.mean()))
    assert min(distances) < 0.05 and max(distances) > 0.3  # from all the way to hardly
    for never in (alpha * 0, alpha):
        settings = ColourMatchSettings(probability=1.0 * (never is not alpha))
        assert match_colours(foreground, never, background, rng, settings) is foreground
