"""Trimaps from alphas."""

import numpy as np
import pytest

from data.trimap import TrimapSettings, erode, random_trimap, trimap_from_alpha


def step_alpha(side: int = 101) -> np.ndarray:
    """Alpha of a vertical step, with one half in the middle column."""
    alpha = np.zeros((side, side), np.float32)
    alpha[:, side // 2] = 0.5
    alpha[:, side // 2 + 1 :] = 1
    return alpha


@pytest.mark.parametrize(("foreground_px", "background_px"), [(1, 1), (3, 1), (1, 9), (29, 15)])
def test_each_side_moves_back_by_its_own_half_kernel(foreground_px: int, background_px: int) -> None:
    trimap = trimap_from_alpha(step_alpha(), foreground_px, background_px)
    middle = 50
    row = trimap[middle]
    assert (row[: middle - background_px // 2] == 0).all()
    assert (row[middle + 1 + foreground_px // 2 :] == 255).all()
    assert (row[middle - background_px // 2 : middle + 1 + foreground_px // 2] == 128).all()


def test_known_pixels_are_exactly_opaque_or_transparent() -> None:
    alpha = np.random.default_rng(0).choice(np.array([0, 5e-6, 0.01, 0.99, 1 - 5e-6, 1], np.float32), (64, 64))
    trimap = trimap_from_alpha(alpha, 1, 1)
    assert (trimap[alpha > 0.999] == 255).all()
    assert (trimap[alpha < 0.001] == 0).all()
    assert (trimap[(alpha > 0.001) & (alpha < 0.999)] == 128).all()


def test_random_trimap_never_calls_an_unknown_pixel_known() -> None:
    alpha = step_alpha()
    rng = np.random.default_rng(1)
    widths = {int((random_trimap(alpha, rng, TrimapSettings()) == 128)[50].sum()) for _ in range(200)}
    assert min(widths) == 1 and 25 <= max(widths) <= 29
    assert len(widths) > 15


def test_hidden_areas_are_of_all_sizes_and_change_nothing_elsewhere() -> None:
    alpha = step_alpha()
    rng = np.random.default_rng(2)
    settings = TrimapSettings(min_kernel_px=1, max_kernel_px=1, hide_probability=1.0, max_hidden_px=30)
    plain = trimap_from_alpha(alpha, 1, 1)
    counts = []
    for _ in range(100):
        trimap = random_trimap(alpha, rng, settings)
        assert (trimap[trimap != 128] == plain[trimap != 128]).all()
        assert (trimap[plain == 128] == 128).all()
        counts.append((trimap == 128).sum() - (plain == 128).sum())
    assert min(counts) < 300 and max(counts) > 1500


def test_nothing_is_hidden_where_all_is_background() -> None:
    settings = TrimapSettings(hide_probability=1.0)
    assert (random_trimap(np.zeros((50, 50), np.float32), np.random.default_rng(0), settings) == 0).all()


def test_the_border_does_not_erode() -> None:
    assert (erode(np.ones((20, 20), np.uint8), 9) == 1).all()
