"""Geometry of scenes: bodies, the camera, resampled curves."""

import numpy as np
import pytest

from data.prepare.rendered.scene import Camera, Ellipsoid, resampled, smoothed, turned


def test_local_coordinates_are_inverted() -> None:
    body = Ellipsoid(np.array([1.0, -2.0, 0.5]), np.array([0.5, 2.0, 1.0]), turned(np.array([0.3, 1.0, -2.0])))
    points = np.random.default_rng(0).normal(size=(20, 3))
    assert np.allclose(body.world(body.local(points)), points)
    assert np.allclose(body.turn @ body.turn.T, np.eye(3))


def test_normals_are_perpendicular_to_the_surface() -> None:
    body = Ellipsoid(np.zeros(3), np.array([0.5, 2.0, 1.0]), turned(np.array([0.3, 1.0, -2.0])))
    angle = 1e-4
    for start in np.eye(3):
        other = np.roll(start, 1)
        along = body.world(np.cos(angle) * start + np.sin(angle) * other) - body.world(start)
        assert abs(body.normals(start) @ along) < 1e-6


def test_the_camera_puts_its_target_into_the_middle() -> None:
    camera = Camera(np.array([2.0, -3.0, 1.0]), np.array([0.2, 0.1, 0.3]), roll=0.4, extent=2.0)
    assert camera.project(camera.target, 100) == pytest.approx((50, 50, camera.distance))
    right, up, forward = camera.frame()
    assert camera.project(camera.target + right, 100)[:2] == pytest.approx((100, 50))
    assert camera.project(camera.target + up, 100)[:2] == pytest.approx((50, 0))
    assert camera.project(camera.target + forward, 100)[2] == pytest.approx(camera.distance + 1)


@pytest.mark.parametrize("count", [3, 7, 30])
def test_resampling_keeps_ends_and_straight_lines(count: int) -> None:
    line = np.linspace([0.0, 1.0], [3.0, -1.0], 7)[None]
    for resample in (resampled, smoothed):
        assert np.allclose(resample(line, count), np.linspace([0.0, 1.0], [3.0, -1.0], count)[None], atol=0.2)
        assert np.allclose(resample(line, count)[:, [0, -1]], line[:, [0, -1]])


def test_splines_pass_through_their_points() -> None:
    values = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    assert np.allclose(smoothed(values, 13)[:, ::3], values, atol=1e-5)
