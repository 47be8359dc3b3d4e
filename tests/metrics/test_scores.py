"""The scores against numbers worked out by hand, and the written-out formulas."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import scores
from metrics.scores import METRICS, score_pair
from tools.reference import metrics as reference


def test_sad_and_mse_by_hand():
    pred = np.array([[0, 255, 51], [102, 7, 0]], np.uint8)
    target = np.array([[255, 255, 102], [0, 99, 0]], np.uint8)
    trimap = np.array([[128, 128, 128], [128, 0, 127]], np.uint8)
    got = score_pair(pred, target, trimap)
    assert got.counted_px == 4
    assert got.sad == pytest.approx((1 + 0 + 0.2 + 0.4) / 1000, rel=1e-15)
    assert got.mse == pytest.approx((1 + 0 + 0.04 + 0.16) / 4 * 1000, rel=1e-15)


def test_filter_has_unit_norm_and_the_published_peak():
    kernel = np.outer(scores.SMOOTH, scores.DERIVE)
    assert kernel.shape == (9, 9)
    assert np.sum(kernel**2) == pytest.approx(1, rel=1e-14)
    assert kernel.sum() == pytest.approx(0, abs=1e-15)
    assert np.abs(kernel).max() == pytest.approx(0.3154337, abs=5e-8)


def test_gradient_of_a_step_by_hand():
    """A constant matte has no gradient.

    A vertical step therefore leaves its own: the same squared sum in each row.
    """
    target = np.zeros((5, 20), np.uint8)
    target[:, 10:] = 255
    derive, smooth = scores.DERIVE, scores.SMOOTH
    row = sum((smooth.sum() * derive[cut:].sum()) ** 2 for cut in range(1, 9))
    got = score_pair(np.full_like(target, 90), target, whole_image=True)
    assert got.grad * 1000 == pytest.approx(5 * row, rel=1e-13)


def test_stretch_hides_contrast_from_the_gradient_error_only():
    target = np.tile(np.array([100, 110, 120], np.uint8).repeat(9), (6, 1))
    got = score_pair((target - 100) * 2, target, whole_image=True)
    assert got.grad == pytest.approx(0, abs=1e-25)
    assert got.sad > 0


def test_stretch_comes_from_the_whole_image():
    """One far pixel doubles the range, and so halves the amplitudes."""
    target = np.zeros((12, 600), np.uint8)
    target[:, 5:10] = 120
    pred = target.copy()
    pred[6, 590] = 240
    trimap = np.zeros_like(target)
    trimap[:, :20] = 128
    got = score_pair(pred, target, trimap)
    assert got.grad == pytest.approx(reference.grad(pred, target, trimap == 128), rel=1e-12)
    assert got.grad > 0 and got.sad == 0


def test_connectivity_by_hand():
    """A blob cut off from step 1 loses its whole alpha.

    The right one, in one matte; its level is 0 in both.
    """
    target = np.full((1, 9), 255, np.uint8)
    pred = target.copy()
    pred[0, 6] = 0
    got = score_pair(pred, target, whole_image=True)
    # Left part: level 1, no loss. Gap: 0 against 1. Right part: cut off in both mattes alike, so no difference.
    assert got.conn * 1000 == pytest.approx(1, rel=1e-15)
    pred[0, 7:] = 102
    # Right part now: level 0, phi is 1 - 0.4 against 1 - 1, for two pixels.
    assert score_pair(pred, target, whole_image=True).conn * 1000 == pytest.approx(1 + 2 * 0.6, rel=1e-15)


@pytest.mark.parametrize(("value", "steps"), [(25, 0), (26, 1), (51, 2), (152, 5), (153, 6), (254, 9), (255, 10)])
def test_thresholds_are_inclusive_integers(value, steps):
    assert (scores._connected_level(np.full((3, 4), value, np.uint8)) == steps).all()


def test_ties_go_to_the_leftmost_column():
    above = np.array([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 0, 0, 0]], np.uint8)
    got = scores.largest_component(above, (4, 0))
    assert got.tolist() == [[0] * 5, [0] * 5, [1, 1, 0, 0, 0]]


def test_no_unknown_pixel_is_undefined():
    alpha = np.full((4, 4), 60, np.uint8)
    got = score_pair(alpha, alpha + 9, np.full_like(alpha, 255))
    assert not got.defined
    assert math.isnan(got.mse)
    assert (got.sad, got.grad, got.conn) == (0, 0, 0)


def test_large_sums_stay_exact():
    pred, target = np.zeros((2100, 2000), np.uint8), np.full((2100, 2000), 255, np.uint8)
    got = score_pair(pred, target, whole_image=True)
    assert (got.sad, got.conn) == (4200, 4200)
    assert got.mse == pytest.approx(1000, rel=1e-15)
    assert got.grad == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pred": np.zeros((3, 4), np.uint16)}, "pred is uint16"),
        ({"pred": np.zeros((3, 4), bool)}, "pred is bool"),
        ({"target": np.zeros((3, 4), np.float32)}, "target is float32"),
        ({"target": np.zeros((4, 4), np.uint8)}, "target is 4x4 but pred is 4x3"),
        ({"trimap": np.zeros((3, 5), np.uint8)}, "trimap is 5x3 but pred is 4x3"),
        ({"pred": np.zeros((3, 4, 3), np.uint8)}, "pass one channel"),
        ({"trimap": None}, "no trimap"),
    ],
)
def test_wrong_arrays_are_refused(change, message):
    arguments = {name: np.zeros((3, 4), np.uint8) for name in ("pred", "target", "trimap")} | change
    with pytest.raises(ValueError, match=message):
        score_pair(**arguments)


def _blobs(height: int, width: int, seed: int, smooth: float, levels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random mattes from noise to soft blobs, of few or all levels.

    Few grey levels bring ties and thresholds.
    """
    generator = np.random.default_rng(seed)
    fields = generator.random((2, height, width))
    if smooth:
        fields = np.stack([cv2.GaussianBlur(field, (0, 0), smooth) for field in fields])
        fields = (fields - fields.min()) / max(np.ptp(fields), 1e-9)
    mattes = np.rint(np.rint(fields * levels) / levels * 255).astype(np.uint8)
    trimap = generator.choice(np.array([0, 127, 128, 129, 255], np.uint8), (height, width), p=[0.1, 0.1, 0.6, 0.1, 0.1])
    return mattes[0], mattes[1], trimap


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    smooth=st.sampled_from([0, 0.8, 3]),
    levels=st.sampled_from([1, 2, 10, 255]),
    whole_image=st.booleans(),
)
def test_equals_the_written_out_formulas(height, width, seed, smooth, levels, whole_image):
    pred, target, trimap = _blobs(height, width, seed, smooth, levels)
    got = score_pair(pred, target, trimap, whole_image)
    unknown = np.ones(trimap.shape, bool) if whole_image else trimap == 128
    for metric in METRICS:
        expected = getattr(reference, metric)(pred, target, unknown)
        assert getattr(got, metric) == pytest.approx(expected, rel=1e-10, abs=1e-16, nan_ok=True), metric


def test_tiles_leave_no_seams():
    """Several tiles each way, with counted or differing pixels in some only."""
    pred, target, trimap = _blobs(300, 530, 3, 4, 255)
    trimap[:, :270] = 0
    trimap[:40, 20:30] = 128
    pred[:, 400:] = target[:, 400:]
    got = score_pair(pred, target, trimap)
    assert got.grad == pytest.approx(reference.grad(pred, target, trimap == 128), rel=1e-12)
    assert got.conn == pytest.approx(reference.conn(pred, target, trimap == 128), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    fill=st.sampled_from([0.1, 0.5, 0.8]),
)
def test_seed_of_the_fill_changes_nothing(seed, height, width, fill):
    generator = np.random.default_rng(seed)
    above = (generator.random((height, width)) < fill).astype(np.uint8)
    expected = reference.largest_component(above.astype(bool))
    for _ in range(3):
        point = int(generator.integers(width)), int(generator.integers(height))
        np.testing.assert_array_equal(scores.largest_component(above, point).astype(bool), expected)


def test_inputs_stay_as_they_are_and_views_will_do():
    pred, target, trimap = _blobs(30, 44, 5, 2, 255)
    kept = pred.copy(), target.copy(), trimap.copy()
    plain = score_pair(pred, target, trimap)
    for before, after in zip(kept, (pred, target, trimap), strict=True):
        np.testing.assert_array_equal(before, after)
    views = [np.repeat(array, 2, axis=1)[:, ::2] for array in kept]
    assert score_pair(*views) == plain
