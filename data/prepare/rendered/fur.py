"""Recipes of fur: coats, tufts of fluff, animals with whiskers."""

import numpy as np

from data.prepare.rendered.colours import coat, hair_colour
from data.prepare.rendered.growth import Growth, grow, random_wind, sample_roots, smooth_field, tapered
from data.prepare.rendered.scene import Ellipsoid, Object, Recipe, Strands, turned, unit

FULL = 26_000  # strands of a coat of average density


def _blob(rng: np.random.Generator) -> list[Ellipsoid]:
    """A few lumps that overlap."""
    centre, bodies = np.zeros(3), []
    for _ in range(int(rng.integers(1, 4))):
        colour = tuple(hair_colour(rng) * 0.5)
        bodies.append(
            Ellipsoid(
                centre=centre,
                axes=rng.uniform(0.5, 1.0, 3),
                turn=turned(rng.uniform(-1, 1, 3)),
                colour=colour,
                roughness=0.9,
            )
        )
        centre = centre + rng.uniform(-0.8, 0.8, 3)
    return bodies


def _lean(points: np.ndarray, normals: np.ndarray, rise: float, rng: np.random.Generator) -> np.ndarray:
    """First directions of fur: a smooth flow along the surface."""
    flow = unit(rng.normal(size=3)) + smooth_field(rng, 2.0)(points) * rng.uniform(0, 0.6)
    flow -= (flow * normals).sum(1, keepdims=True) * normals
    return unit(unit(flow) * (1 - rise) + normals * rise)


def _coat_growth(rng: np.random.Generator, length: float) -> Growth:
    return Growth(
        length=length,
        length_spread=rng.uniform(0.1, 0.4),
        points=14,
        rise=rng.uniform(0.15, 0.7),
        gravity=rng.uniform(0, 2.5),
        wind=random_wind(rng, 0, 0.8),
        gusts=rng.uniform(0, 1),
        scatter=rng.uniform(0.06, 0.3),
        frizz=rng.uniform(0, 0.12),
        clump=rng.uniform(0, 0.9),
        clump_shape=rng.uniform(0.6, 2),
        guides=int(rng.integers(300, 1500)),
        curl=rng.choice([0, 0, 0, 0.03]),
        turns=rng.uniform(1, 4),
        strays=rng.uniform(0.01, 0.1),
    )


def _furred(bodies: list[Ellipsoid], length: float, count: int, rng: np.random.Generator) -> Strands:
    """Undercoat, and longer guard hairs."""
    growth, base, whole = _coat_growth(rng, length), hair_colour(rng, 0.05), lambda body, local: np.ones(len(local))
    roots, normals = sample_roots(bodies, count, whole, rng)
    guard = rng.random(len(roots)) < rng.uniform(0.05, 0.4)
    first = _lean(roots, normals, growth.rise, rng)
    points = grow(roots, first, growth, bodies, rng)
    stretch = np.where(guard, rng.uniform(1.1, 1.7), 1.0)[:, None, None]
    points = points[:, :1] + (points - points[:, :1]) * stretch.astype(np.float32)
    radius = tapered(points, rng.uniform(0.004, 0.012), rng.uniform(0.05, 0.4), rng)
    radius *= np.where(guard, rng.uniform(1, 1.8), 1.0)[:, None].astype(np.float32)
    return Strands(points, radius, coat(points, base, rng), rng.uniform(0.25, 0.5))


def _fur(rng: np.random.Generator) -> Object:
    bodies = _blob(rng)
    return [_furred(bodies, np.exp(rng.uniform(np.log(0.12), np.log(1.2))), int(FULL * 1.4), rng)], bodies


def _tufts(rng: np.random.Generator) -> Object:
    """Separate balls of fluff."""
    bodies = [
        Ellipsoid(
            rng.uniform(-1.2, 1.2, 3) * (1, 0.3, 1),
            rng.uniform(0.06, 0.35, 3),
            colour=tuple(hair_colour(rng)),
            roughness=0.9,
        )
        for _ in range(int(rng.integers(2, 7)))
    ]
    return [_furred(bodies, rng.uniform(0.3, 1.1), int(FULL * rng.uniform(0.15, 0.7)), rng)], bodies


def _animal(rng: np.random.Generator) -> Object:
    """A furry head with muzzle, ears, eyes, nose and whiskers."""
    under = tuple(hair_colour(rng, 0) * 0.6)
    dark = (0.01, 0.008, 0.008)

    def part(centre, axes, angles=(0, 0, 0), colour=under, gloss=0.9, hairy=True):
        return Ellipsoid(
            centre=np.array(centre, float),
            axes=np.array(axes, float),
            turn=turned(np.array(angles)),
            colour=colour,
            roughness=gloss,
            hairy=hairy,
        )

    wide, muzzle = rng.uniform(0.75, 1.0), rng.uniform(0.7, 1.1)
    tall, spread = rng.uniform(0.25, 0.8), rng.uniform(0.3, 0.7)
    bodies = [
        part((0, 0, 0), (wide, 0.85, 0.8)),
        part((0, -muzzle, -0.25), (0.36, 0.42, 0.3)),
        part((0, 0.8, -1.3), (1.1, 0.9, 1.4)),
        *(
            part((side * spread, 0.05, 0.7 + tall * 0.5), (0.22, 0.1, tall), (0.2, side * rng.uniform(0.1, 0.5), 0))
            for side in (-1, 1)
        ),
        *(
            part((side * 0.33, -0.72, 0.18), (0.12, 0.12, 0.13), colour=dark, gloss=0.05, hairy=False)
            for side in (-1, 1)
        ),
        part((0, -muzzle - 0.4, -0.15), (0.11, 0.08, 0.08), colour=dark, gloss=0.2, hairy=False),
    ]
    strands = _furred(bodies, rng.uniform(0.12, 0.5), int(FULL * 1.4), rng)
    short = np.clip(0.25 + 1.1 * (strands.points[:, 0, 1] + 0.9), 0.25, 1)[:, None, None].astype(np.float32)
    strands.points = strands.points[:, :1] + (strands.points - strands.points[:, :1]) * short
    return [strands, _whiskers(muzzle, rng)], bodies


def _whiskers(muzzle: float, rng: np.random.Generator) -> Strands:
    """Stiff, long, bent, thick at the root."""
    count = int(rng.integers(14, 40))
    side = rng.choice([-1.0, 1.0], count)
    roots = np.stack(
        [side * rng.uniform(0.2, 0.34, count), -muzzle + rng.uniform(-0.3, 0.1, count), rng.uniform(-0.4, -0.1, count)],
        1,
    )
    first = unit(
        np.stack([side * rng.uniform(0.7, 1, count), rng.uniform(-0.6, 0.3, count), rng.normal(0, 0.3, count)], 1)
    )
    growth = Growth(
        length=rng.uniform(0.7, 1.5),
        length_spread=0.3,
        points=14,
        gravity=rng.uniform(-0.3, 0.9),
        scatter=0.05,
        strays=0,
    )
    points = grow(roots, first, growth, [], rng)
    colour = np.full((*points.shape[:2], 3), rng.choice([0.85, 0.85, 0.02]), np.float32)
    return Strands(points, tapered(points, rng.uniform(0.012, 0.025), 0.1, rng), colour)


FUR_KINDS: dict[str, Recipe] = {
    "fur": _fur,
    "tufts": _tufts,
    "animal": _animal,
}
