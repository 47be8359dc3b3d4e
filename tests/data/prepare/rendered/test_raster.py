"""Painted pictures: exact coverage, colour that agrees with it, depth, defocus."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from data.prepare.rendered.raster import Patches, paint, paint_layers, render, seen, strips
from data.prepare.rendered.scene import Camera, Ellipsoid, Light, Scene, Strands

FRONT = Camera(np.array([0.0, -4.0, 0.0]), np.zeros(3), roll=0.0, extent=2.0)


def bar(x: float, breadth: float, colour: tuple[float, float, float], depth: float) -> Patches:
    """Upright bar over the whole height of a 32 px picture."""
    left, right = x - breadth / 2, x + breadth / 2
    corners = np.array([[[left, -4], [right, -4], [right, 36], [left, 36]]], np.float32)
    return Patches(corners, np.array([colour], np.float32), np.array([depth], np.float32))


def scene(coats: list[Strands], bodies: list[Ellipsoid], camera: Camera = FRONT) -> Scene:
    lights = [Light(np.array([0.0, -0.7, 0.7]), np.ones(3))]
    return Scene("test", coats, bodies, camera, lights, np.full((2, 3), 0.3), world=0, seed=0)


def upright(radius: float, x: float = 0.0, y: float = 0.0, surface: str = "fibre") -> Strands:
    points = np.linspace([x, y, -3.0], [x, y, 3.0], 30)[None].astype(np.float32)
    return Strands(points, np.full((1, 30), radius, np.float32), np.full((1, 30, 3), 0.5, np.float32), 0.3, surface)


@pytest.mark.parametrize("breadth", [0.5, 1.0, 2.75, 9.0])
@pytest.mark.parametrize("x", [16.0, 16.4])
def test_coverage_is_the_area(breadth: float, x: float) -> None:
    picture = paint(bar(x, breadth, (0.2, 0.4, 0.8), 1.0), 32)
    assert picture[..., 3].sum() / 32 == pytest.approx(breadth, abs=0.26)
    assert np.allclose(picture[..., :3], picture[..., 3:] * np.array([0.2, 0.4, 0.8]), atol=2e-3)


def test_what_is_near_hides_what_is_far() -> None:
    near, far = bar(16, 10, (1.0, 0.0, 0.0), 1.0), bar(16, 10, (0.0, 1.0, 0.0), 2.0)
    for order in ([near, far], [far, near]):
        assert paint(Patches.joined(order), 32)[16, 16] == pytest.approx((1, 0, 0, 1), abs=1e-3)


def test_highlights_above_one_survive() -> None:
    assert paint(bar(16, 10, (3.0, 1.0, 1.0), 1.0), 32)[16, 16, 0] == pytest.approx(3, abs=1e-3)


@pytest.mark.parametrize("surface", ["fibre", "tube"])
def test_a_strand_has_its_breadth(surface: str) -> None:
    picture = render(scene([upright(0.1, surface=surface)], []), 64)
    assert picture[20:44, :, 3].sum(axis=1).mean() == pytest.approx(0.2 * 64 / 2, abs=0.6)
    assert (picture[..., :3][picture[..., 3] > 0.9] > 0.01).all()


def test_a_body_is_a_solid_disc() -> None:
    picture = render(scene([], [Ellipsoid(np.zeros(3), np.full(3, 0.5))]), 64)
    assert picture[32, 32, 3] == 1
    # Perspective: a sphere of radius 0.5 at distance 4 looks a little larger than its disc.
    assert picture[..., 3].sum() == pytest.approx(np.pi * 16.13**2, rel=0.03)


def test_a_body_hides_a_strand_behind_it() -> None:
    body = Ellipsoid(np.zeros(3), np.full(3, 0.5), colour=(0.0, 0.0, 0.9))
    behind, before = (render(scene([upright(0.05, y=y)], [body]), 64)[32, 32] for y in (0.8, -0.8))
    assert behind[2] > 1.5 * behind[0]
    assert before[0] > behind[0]


def test_tubes_stay_tubes_when_those_in_view_are_chosen() -> None:
    tube = replace(upright(0.1, surface="tube"), roughness=0.7)
    kept = seen(tube, FRONT, 64)
    assert (kept.surface, kept.roughness, len(kept.points)) == ("tube", 0.7, 1)
    assert len(seen(upright(0.1, x=5.0), FRONT, 64).points) == 0


def test_a_tube_is_round() -> None:
    picture = render(scene([upright(0.3, surface="tube")], []), 64)[32]
    solid = picture[picture[:, 3] > 0.99, 0]
    assert solid[len(solid) // 2] > 1.3 * min(solid[0], solid[-1])


def test_an_empty_view_is_clear() -> None:
    away = Camera(np.array([0.0, -4.0, 0.0]), np.array([9.0, -4.0, 0.0]), roll=0.0, extent=1.0)
    assert render(scene([upright(0.1)], [], away), 32).max() == 0


def test_an_open_lens_blurs_colour_and_coverage_alike() -> None:
    camera = Camera(FRONT.position, FRONT.target, 0.0, 2.0, focus=4.0, aperture=0.4)
    bars = Patches.joined([bar(x, 4, (0.3, 0.3, 0.3), depth) for x, depth in ((8, 3.0), (16, 4.0), (24, 6.0))])
    picture = paint_layers(bars, scene([], [], camera), 32)
    alpha = picture[16, :, 3]
    assert alpha[16] > 0.95 and 0 < alpha[11] < 0.9 and 0 < alpha[21] < 0.9
    assert alpha.max() <= 1 + 1e-5
    assert np.allclose(picture[..., :3], 0.3 * picture[..., 3:], atol=2e-3)


@pytest.mark.parametrize("surface", ["fibre", "tube"])
@pytest.mark.parametrize("breadth", [0.4, 2.0, 7.0, 40.0])
def test_strips_cover_the_whole_breadth(surface: str, breadth: float) -> None:
    parts = strips(breadth, surface)
    edges = sorted((middle - half, middle + half) for middle, half in parts)
    assert edges[0][0] <= -1 and edges[-1][1] >= 1
    assert all(left[1] >= right[0] for left, right in pairwise(edges))
    assert len(parts) == 1 or breadth > 1
