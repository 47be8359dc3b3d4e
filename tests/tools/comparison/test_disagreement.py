"""Disagreement of mattes: sums over windows, disjoint boxes, any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.comparison.disagreement import spread, worst_boxes


def test_spread_is_the_range_at_each_pixel():
    alphas = [
        np.array([[0, 10, 200]], np.uint8),
        np.array([[0, 30, 100]], np.uint8),
        np.array([[0, 20, 255]], np.uint8),
    ]
    before = [alpha.copy() for alpha in alphas]
    assert spread(alphas).tolist() == [[0, 20, 155]]
    assert all(np.array_equal(*pair) for pair in zip(alphas, before, strict=True))


def test_boxes_surround_the_differences_worst_first():
    first, second = np.zeros((2, 300, 400), np.uint8)
    first[20:30, 350:360] = 255
    second[200:210, 40:50] = 100
    second[250:252, 200:202] = 30
    boxes = worst_boxes([first, second])
    assert [(box.height, box.width) for box in boxes] == [(50, 50)] * 3
    for box, (y, x) in zip(boxes, ((20, 350), (200, 40), (250, 200)), strict=True):
        rows, cols = box.slices()
        assert rows.start <= y < rows.stop and cols.start <= x < cols.stop


@pytest.mark.parametrize("alphas", [[], [np.full((5, 5), 7, np.uint8)], [np.full((5, 5), 7, np.uint8)] * 2])
def test_no_boxes_where_all_agree(alphas: list[np.ndarray]):
    assert worst_boxes(alphas) == []


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 10**6))
def test_boxes_are_inside_disjoint_and_sorted(height: int, width: int, seed: int):
    rng = np.random.default_rng(seed)
    alphas = [rng.integers(0, 256, (height, width), dtype=np.uint8) for _ in range(2)]
    difference = spread(alphas).astype(int)
    boxes = worst_boxes(alphas)
    covered, sums = np.zeros((height, width), int), []
    for box in boxes:
        assert 0 <= box.top <= height - box.height and 0 <= box.left <= width - box.width
        covered[box.slices()] += 1
        sums.append(difference[box.slices()].sum())
    assert covered.max(initial=0) <= 1
    assert sums == sorted(sums, reverse=True)
    if sums:
        side = boxes[0].height, boxes[0].width
        windows = np.lib.stride_tricks.sliding_window_view(difference, side).sum(axis=(2, 3))
        assert sums[0] == windows.max()
