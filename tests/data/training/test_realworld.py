"""Degraded composites: rates and strengths as set, known effects, reproducible."""

import numpy as np
import pytest

from data.training.realworld import RealWorldSettings, degrade

OFF = {"contrast": (1.0, 1.0), "max_jpeg_compression": 0.0, "max_blur_px": 0.0, "max_noise": 0.0}


def scene(side=64):
    rows, columns = np.mgrid[:side, :side] / side
    return np.stack([rows, columns, (rows + columns) / 2], axis=-1).astype(np.float32)


def test_off_by_default():
    image = scene()
    assert all(degrade(image, np.random.default_rng(seed), RealWorldSettings()) is image for seed in range(50))


def test_as_often_as_asked_for_and_reproducibly():
    image, settings = scene(16), RealWorldSettings(probability=0.5)
    results = [degrade(image, np.random.default_rng(seed), settings) for seed in range(400)]
    assert 160 < sum(result is not image for result in results) < 240
    for seed, result in enumerate(results[:20]):
        np.testing.assert_array_equal(result, degrade(image, np.random.default_rng(seed), settings))
        assert result.dtype == np.float32 and result.shape == image.shape
        assert 0 <= result.min() and result.max() <= 1
    np.testing.assert_array_equal(image, scene(16))  # the caller's stays


def degraded(strength, count=40):
    """Results where nothing but one degradation has any strength."""
    settings = RealWorldSettings(probability=1.0, **{**OFF, **strength})
    return [degrade(scene(), np.random.default_rng(seed), settings) for seed in range(count)]


@pytest.mark.parametrize(
    "strength", [{"contrast": (0.6, 0.6)}, {"max_jpeg_compression": 60.0}, {"max_blur_px": 3.0}, {"max_noise": 25.5}]
)
def test_each_degradation_changes_the_image_within_bounds(strength):
    changes = np.array([np.abs(result - scene()).mean() for result in degraded(strength)])
    unchanged = max(np.abs(result - scene()).mean() for result in degraded({}))
    assert unchanged < 0.006  # rounding, and JPEG of the best quality
    assert (changes > unchanged).any() and changes.max() < 0.12
    assert (changes <= unchanged).any()  # not all of the four are always chosen


def test_contrast_turns_about_the_middle():
    image = np.full((8, 8, 3), 0.9, np.float32)
    settings = RealWorldSettings(probability=1.0, **{**OFF, "contrast": (0.6, 0.6)})
    values = {float(degrade(image, np.random.default_rng(seed), settings)[0, 0, 0]) for seed in range(30)}
    wanted = (127 + 0.6 * (round(0.9 * 255) - 127)) / 255
    assert min(abs(value - wanted) for value in values) < 1.5 / 255 and max(values) == pytest.approx(0.9, abs=1.5 / 255)


def test_noise_is_one_field_for_all_channels():
    settings = RealWorldSettings(probability=1.0, **{**OFF, "max_noise": 25.5})
    grey = np.full((64, 64, 3), 0.5, np.float32)
    results = [degrade(grey, np.random.default_rng(seed), settings) for seed in range(20)]
    deviations = [result.std() * 255 for result in results]
    assert 5 < max(deviations) < 26
    # JPEG of the best quality may move a channel by a level or two
    assert all(np.abs(result - result[..., :1]).max() < 6 / 255 for result in results)
