"""Blending and merging against hand-computed numbers and their limits."""

import numpy as np
import pytest

from data.training.composite import blend, merge_foregrounds, union_alpha


def test_blend_by_hand() -> None:
    foreground, background = np.full((1, 3, 3), 0.8, np.float32), np.full((1, 3, 3), 0.2, np.float32)
    image = blend(foreground, background, np.array([[0, 0.25, 1]], np.float32))
    assert image[0, :, 0] == pytest.approx([0.2, 0.35, 0.8])


def test_blend_leaves_the_layers_alone() -> None:
    foreground, background = np.ones((2, 2, 3), np.float32), np.zeros((2, 2, 3), np.float32)
    blend(foreground, background, np.full((2, 2), 0.5, np.float32))
    assert (foreground == 1).all() and (background == 0).all()


def test_union_alpha_by_hand() -> None:
    first, second = np.array([0, 0.5, 1, 0.5], np.float32), np.array([0.25, 0.5, 0.3, 0], np.float32)
    assert union_alpha(first, second) == pytest.approx([0.25, 0.75, 1, 0.5])


def test_merged_layers_show_the_first_where_it_is_opaque_and_truncate() -> None:
    first, second = np.full((1, 3, 3), 200, np.uint8), np.full((1, 3, 3), 101, np.uint8)
    alpha = np.array([[1, 0, 0.5]], np.float32)
    colour, joint = merge_foregrounds(first, alpha, second, np.full((1, 3), 0.5, np.float32))
    assert colour[0, :, 0].tolist() == [200, 101, 150]  # 150.5 is cut, not rounded
    assert joint[0] == pytest.approx([1, 0.5, 0.75])
