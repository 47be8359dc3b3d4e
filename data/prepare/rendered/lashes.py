"""Recipe of lashes and brows, seen from near."""

import numpy as np

from data.prepare.rendered.colours import any_colour, coat, hair_colour, skin_colour
from data.prepare.rendered.growth import Growth, grow, tapered
from data.prepare.rendered.scene import Ellipsoid, Object, Strands, unit


def lashes(rng: np.random.Generator) -> Object:
    """An eye with lids, lashes and a brow, from near."""
    skin = skin_colour(rng)
    eye = Ellipsoid(np.zeros(3), np.full(3, 0.62), colour=(0.8, 0.77, 0.74), roughness=0.05, hairy=False)
    iris = Ellipsoid(
        np.array([rng.normal(0, 0.08), -0.4, 0.0]),
        np.array([0.28, 0.26, 0.28]),
        colour=tuple(any_colour(rng) * 0.3),
        roughness=0.05,
        hairy=False,
    )
    lids = [
        Ellipsoid(np.array([0, 0.12, side * height]), np.array([1.05, 0.72, 0.55]), colour=skin, hairy=False)
        for side, height in ((1, rng.uniform(0.62, 0.8)), (-1, rng.uniform(0.66, 0.8)))
    ]
    face = Ellipsoid(np.array([0, 1.1, 0.1]), np.array([1.8, 1.25, 1.7]), colour=skin, hairy=False)
    bodies, base = [eye, iris, *lids, face], hair_colour(rng, 0.03) * 0.4
    sets = [_fringe(lid, sign, rng) for sign, lid in zip((1, -1), lids, strict=True)] + [_brow(face, rng)]
    points = np.concatenate(sets)
    if rng.random() < 0.4:
        points, bodies = np.concatenate(sets[: int(rng.integers(1, 3))]), []
    radius = tapered(points, rng.uniform(0.012, 0.024), 0.1, rng)
    return [Strands(points, radius, coat(points, base, rng), rng.uniform(0.2, 0.4))], bodies


def _fringe(lid: Ellipsoid, sign: int, rng: np.random.Generator) -> np.ndarray:
    """Lashes (N, P, 3) of the upper (1) or lower (-1) lid."""
    across = rng.uniform(-0.8, 0.8, int(rng.integers(50, 160)))
    drop = lid.centre[2] - sign * 0.5 * np.sqrt(np.maximum(1 - (across / 1.05) ** 2, 0.05))
    roots = np.stack([across, np.full_like(across, -0.52) + 0.35 * across**2, drop], axis=1)
    first = unit(np.stack([across * 0.7, np.full_like(across, -1.0), np.full_like(across, -0.25 * sign)], axis=1))
    growth = Growth(
        length=rng.uniform(0.25, 0.6) * (1 if sign > 0 else 0.6),
        length_spread=0.25,
        points=14,
        gravity=-sign * rng.uniform(2, 7),
        scatter=0.12,
        clump=rng.uniform(0, 0.8),
        guides=25,
        strays=0.05,
    )
    return grow(roots, first, growth, [], rng)


def _brow(face: Ellipsoid, rng: np.random.Generator) -> np.ndarray:
    """Short hairs (N, P, 3) that lie on the forehead."""
    count = int(rng.integers(300, 900))
    across = rng.uniform(-1, 1, count)
    arch = 1.05 + 0.25 * (1 - across**2) + rng.normal(0, 0.06, count)
    roots = face.world(unit(face.local(np.stack([across, np.full(count, -0.4), arch], axis=1))))
    first = unit(
        np.stack([np.full(count, rng.choice([-1.0, 1.0])), np.full(count, -0.5), rng.normal(0.3, 0.2, count)], 1)
    )
    growth = Growth(length=rng.uniform(0.25, 0.5), length_spread=0.3, points=14, gravity=0, scatter=0.15)
    return grow(roots, first, growth, [face], rng)
