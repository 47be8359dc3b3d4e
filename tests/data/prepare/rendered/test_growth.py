"""Strands grow from surfaces, around bodies, under gravity, and in clumps."""

import numpy as np
import pytest

from data.prepare.rendered.growth import CLEARANCE, Growth, grow, nearest_of, sample_roots, tapered
from data.prepare.rendered.scene import Ellipsoid, turned


def everywhere(body: Ellipsoid, local: np.ndarray) -> np.ndarray:
    return np.ones(len(local))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def bodies() -> list[Ellipsoid]:
    tilted = Ellipsoid(np.array([0.6, 0.0, 0.2]), np.array([0.5, 0.3, 0.8]), turned(np.array([0.4, -0.2, 1.0])))
    return [Ellipsoid(np.zeros(3), np.array([0.8, 0.9, 1.0])), tilted]


def test_roots_lie_on_surfaces_that_are_free(bodies: list[Ellipsoid], rng: np.random.Generator) -> None:
    roots, normals = sample_roots(bodies, 500, everywhere, rng)
    distances = np.stack([np.linalg.norm(body.local(roots), axis=1) for body in bodies])
    assert np.allclose(distances.min(axis=0), 1)
    assert len(roots) > 250
    step = roots + 0.01 * normals
    assert (np.stack([np.linalg.norm(body.local(step), axis=1) for body in bodies]).min(axis=0) > 1).mean() > 0.99


def test_roots_are_spread_evenly_over_a_stretched_surface(rng: np.random.Generator) -> None:
    disc = Ellipsoid(np.zeros(3), np.array([1.0, 1.0, 0.01]))
    roots, _ = sample_roots([disc], 4000, everywhere, rng)
    assert np.mean(np.hypot(*roots[:, :2].T) < 0.5**0.5) == pytest.approx(0.5, abs=0.04)


def test_bodies_without_hair_have_no_roots(bodies: list[Ellipsoid], rng: np.random.Generator) -> None:
    bodies[1].hairy = False
    roots, _ = sample_roots(bodies, 200, everywhere, rng)
    assert np.allclose(np.linalg.norm(bodies[0].local(roots), axis=1), 1)


def test_strands_stay_outside_bodies(bodies: list[Ellipsoid], rng: np.random.Generator) -> None:
    roots, normals = sample_roots(bodies, 200, everywhere, rng)
    points = grow(roots, -normals, Growth(length=1.5, gravity=3.0), bodies[:1], rng)
    distance = np.linalg.norm(bodies[0].local(points[:, 1:]), axis=-1)
    assert distance.min() > CLEARANCE - 1e-3


def test_gravity_pulls_down_and_wind_aside(rng: np.random.Generator) -> None:
    roots, first = np.zeros((50, 3)), np.tile([0.0, 1.0, 0.0], (50, 1))
    still = Growth(length=1.0, length_spread=0.0, gravity=0.0, scatter=0.0, strays=0.0)
    assert np.allclose(grow(roots, first, still, [], rng)[:, -1], (0, 1, 0), atol=1e-5)
    heavy = Growth(length=1.0, length_spread=0.0, gravity=4.0, wind=(2.0, 0.0, 0.0), scatter=0.0, strays=0.0)
    tips = grow(roots, first, heavy, [], rng)[:, -1]
    assert (tips[:, 2] < -0.5).all() and (tips[:, 0] > 0.2).all()


def test_clumps_draw_tips_together(rng: np.random.Generator) -> None:
    roots = np.stack([np.linspace(0, 1, 300), np.zeros(300), np.zeros(300)], axis=1)
    first = np.tile([0.0, 0.0, 1.0], (300, 1))
    loose = Growth(length=1.0, scatter=0.0, gravity=0.0, guides=10, strays=0.0)
    tight = Growth(length=1.0, scatter=0.0, gravity=0.0, guides=10, strays=0.0, clump=0.95)
    gaps = [np.median(np.diff(np.sort(grow(roots, first, growth, [], rng)[:, -1, 0]))) for growth in (loose, tight)]
    assert gaps[1] < gaps[0] / 2


def test_curls_keep_their_distance_from_the_axis(rng: np.random.Generator) -> None:
    roots, first = np.zeros((40, 3)), np.tile([0.0, 0.0, 1.0], (40, 1))
    growth = Growth(length=1.0, points=60, gravity=0.0, scatter=0.0, strays=0.0, curl=0.1, turns=3.0)
    away = np.hypot(*np.moveaxis(grow(roots, first, growth, [], rng)[:, 30:, :2], -1, 0))
    assert away.mean() == pytest.approx(0.1, rel=0.2)


def test_the_nearest_candidate_is_found_in_any_chunk(rng: np.random.Generator) -> None:
    points, candidates = rng.normal(size=(5000, 3)), rng.normal(size=(7, 3))
    distances = np.linalg.norm(points[:, None] - candidates, axis=-1)
    assert (nearest_of(points, candidates) == distances.argmin(axis=1)).all()


def test_strands_are_thin_at_the_tip(rng: np.random.Generator) -> None:
    radius = tapered(np.zeros((6, 10, 3)), thickness=0.02, tip=0.1, rng=rng)
    assert radius.shape == (6, 10)
    assert np.allclose(radius[:, -1], radius[:, 0] * 0.1)
