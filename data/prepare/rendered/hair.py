"""Recipes of people's hair: long, short, curly, thin, blowing, tied, locks."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from data.prepare.rendered.colours import any_colour, coat, hair_colour, skin_colour
from data.prepare.rendered.growth import Growth, grow, random_wind, sample_roots, smooth_field, tapered
from data.prepare.rendered.scene import Ellipsoid, Object, Recipe, Strands, unit

FULL = 26_000  # strands of a full head of hair


def _person(rng: np.random.Generator) -> list[Ellipsoid]:
    """Head with nose and ears, neck, shoulders."""
    skin, gloss = skin_colour(rng), rng.uniform(0.35, 0.6)
    width, cloth = rng.uniform(0.72, 0.84), tuple(any_colour(rng))

    def part(centre, axes, colour=skin, hairy=False):
        return Ellipsoid(np.array(centre), np.array(axes), colour=colour, roughness=gloss, hairy=hairy)

    head = replace(part((0, 0, 0.15), (width, rng.uniform(0.86, 0.98), 0.95)), hairy=True)
    jaw = part((0, -0.22, -0.4), (width * 0.8, 0.62, 0.72))
    nose = part((0, -0.92, -0.15), (0.11, 0.2, 0.2))
    ears = [part((side * width * 1.0, 0.05, -0.1), (0.07, 0.16, 0.25)) for side in (-1, 1)]
    neck = part((0, 0.12, -1.2), (0.42, 0.45, 0.8))
    chest = part((0, 0.15, -2.75), (rng.uniform(1.5, 1.9), 0.75, 1.25), colour=cloth)
    return [head, jaw, nose, *ears, neck, chest]


def _scalp(rng: np.random.Generator) -> Callable[[Ellipsoid, np.ndarray], np.ndarray]:
    """Density of roots above a hairline that rises towards the front."""
    level, slope, soft = rng.uniform(-0.1, 0.15), rng.uniform(0.4, 0.6), rng.uniform(0.02, 0.12)
    return lambda body, local: np.clip((local[:, 2] - level + slope * local[:, 1]) / soft, 0, 1)


def _parted(roots: np.ndarray, normals: np.ndarray, rise: float, rng: np.random.Generator) -> np.ndarray:
    """First directions: away from a parting and to the back."""
    part, back = rng.uniform(-0.4, 0.4), rng.uniform(-0.3, 0.8)
    side = np.tanh((roots[:, :1] - part) * 6)
    flow = np.concatenate([side, np.full_like(side, back), np.full_like(side, -0.3)], axis=1)
    flow -= (flow * normals).sum(1, keepdims=True) * normals
    return unit(unit(flow) * (1 - rise) + normals * rise)


def _head(rng: np.random.Generator, growth: Growth, count: int, thickness: tuple[float, float]) -> Object:
    """Hair of a person."""
    bodies = _person(rng)
    roots, normals = sample_roots(bodies, count, _scalp(rng), rng)
    points = grow(roots, _parted(roots, normals, growth.rise, rng), growth, bodies, rng)
    radius = tapered(points, rng.uniform(*thickness), rng.uniform(0.1, 0.6), rng)
    return [Strands(points, radius, coat(points, hair_colour(rng), rng), rng.uniform(0.18, 0.42))], bodies


def _long(rng: np.random.Generator) -> Object:
    growth = Growth(
        length=rng.uniform(1.6, 3.6),
        length_spread=rng.uniform(0.08, 0.3),
        points=26,
        rise=rng.uniform(0.25, 0.6),
        gravity=rng.uniform(1.5, 5),
        wind=random_wind(rng, 0, 0.5),
        gusts=rng.uniform(0, 0.8),
        scatter=rng.uniform(0.03, 0.12),
        frizz=rng.uniform(0, 0.06),
        clump=rng.uniform(0, 0.85),
        clump_shape=rng.uniform(0.7, 2),
        guides=int(rng.integers(80, 600)),
        curl=rng.choice([0, 0, 0.02, 0.06]) * rng.uniform(0.5, 1.5),
        turns=rng.uniform(1, 4),
        strays=rng.uniform(0.02, 0.12),
    )
    return _head(rng, growth, FULL, (0.004, 0.009))


def _short(rng: np.random.Generator) -> Object:
    growth = Growth(
        length=rng.uniform(0.12, 0.7),
        length_spread=rng.uniform(0.1, 0.35),
        points=12,
        rise=rng.uniform(0.4, 0.9),
        gravity=rng.uniform(0, 1.5),
        wind=random_wind(rng, 0, 0.6),
        gusts=rng.uniform(0, 1),
        scatter=rng.uniform(0.1, 0.3),
        frizz=rng.uniform(0, 0.12),
        clump=rng.uniform(0, 0.8),
        clump_shape=rng.uniform(0.7, 2),
        guides=int(rng.integers(150, 900)),
        strays=rng.uniform(0.02, 0.15),
    )
    return _head(rng, growth, FULL, (0.004, 0.01))


def _curly(rng: np.random.Generator) -> Object:
    length = rng.uniform(0.6, 2.6)
    growth = Growth(
        length=length,
        length_spread=rng.uniform(0.1, 0.3),
        points=48,
        rise=rng.uniform(0.4, 0.8),
        gravity=rng.uniform(0.5, 3),
        wind=random_wind(rng, 0, 0.4),
        gusts=rng.uniform(0, 0.8),
        scatter=rng.uniform(0.05, 0.2),
        frizz=rng.uniform(0, 0.06),
        clump=rng.uniform(0.45, 0.95),
        clump_shape=rng.uniform(0.4, 1.2),
        guides=int(rng.integers(150, 700)),
        curl=rng.uniform(0.025, 0.11),
        turns=length * rng.uniform(2, 5),
        strays=rng.uniform(0.02, 0.1),
    )
    return _head(rng, growth, int(FULL * 0.6), (0.005, 0.01))


def _wispy(rng: np.random.Generator) -> Object:
    growth = Growth(
        length=rng.uniform(0.6, 3),
        length_spread=rng.uniform(0.3, 0.6),
        points=24,
        rise=rng.uniform(0.3, 0.8),
        gravity=rng.uniform(0, 2.5),
        wind=random_wind(rng, 0, 1.2),
        gusts=rng.uniform(0.3, 1.6),
        scatter=rng.uniform(0.1, 0.4),
        frizz=rng.uniform(0.02, 0.12),
        clump=rng.uniform(0, 0.5),
        clump_shape=rng.uniform(0.7, 2),
        guides=int(rng.integers(40, 300)),
        strays=rng.uniform(0.1, 0.5),
    )
    return _head(rng, growth, int(rng.uniform(1200, 7000)), (0.004, 0.01))


def _blowing(rng: np.random.Generator) -> Object:
    growth = Growth(
        length=rng.uniform(1.2, 3),
        length_spread=rng.uniform(0.15, 0.4),
        points=26,
        rise=rng.uniform(0.3, 0.6),
        gravity=rng.uniform(0.2, 1.2),
        wind=random_wind(rng, 1.2, 4),
        gusts=rng.uniform(0.6, 2.2),
        scatter=rng.uniform(0.05, 0.2),
        frizz=rng.uniform(0, 0.08),
        clump=rng.uniform(0.2, 0.85),
        clump_shape=rng.uniform(0.7, 2),
        guides=int(rng.integers(50, 400)),
        strays=rng.uniform(0.05, 0.25),
    )
    return _head(rng, growth, int(FULL * 0.8), (0.004, 0.009))


def _tied(rng: np.random.Generator) -> Object:
    """Pony tail or bun: strands along the head to a knot."""
    bodies = _person(rng)
    roots, _ = sample_roots(bodies, int(FULL * 0.8), _scalp(rng), rng)
    head = bodies[0]
    knot_normal = unit(np.array([rng.normal(0, 0.3), 1.0, rng.uniform(-0.3, 0.9)]))
    knot = head.world(unit(knot_normal / head.axes)) + 0.1 * knot_normal
    place = np.linspace(0, 1, 14)[None, :, None]
    along = roots[:, None] * (1 - place) + knot * place + rng.normal(0, 0.035, (len(roots), 1, 3)) * place
    local = head.local(along)
    lifted = local / np.maximum(np.linalg.norm(local, axis=2, keepdims=True), 1e-6) * rng.uniform(1.02, 1.1)
    along = np.where(np.linalg.norm(local, axis=2, keepdims=True) < 1.1, head.world(lifted), along)
    loose = rng.random(len(roots)) < rng.uniform(0.01, 0.08)
    along += smooth_field(rng, 0.5)(along) * (0.02 + 0.12 * loose[:, None, None]) * np.sin(np.pi * place)
    bun = rng.random() < 0.35
    growth = Growth(
        length=rng.uniform(0.9, 2.4),
        length_spread=0.2,
        points=26,
        rise=1,
        gravity=0 if bun else rng.uniform(0.8, 3.5),
        wind=random_wind(rng, 0, 0.8),
        gusts=rng.uniform(0.1, 0.8),
        scatter=rng.uniform(0.05, 0.2),
        frizz=rng.uniform(0, 0.06),
        clump=rng.uniform(0, 0.6),
        clump_shape=1.2,
        guides=int(rng.integers(30, 200)),
        curl=rng.uniform(0.15, 0.3) if bun else rng.choice([0, 0.03]),
        turns=rng.uniform(1, 2.5),
        strays=rng.uniform(0.02, 0.1),
    )
    tail = grow(along[:, -1], np.broadcast_to(knot_normal, roots.shape), growth, bodies, rng)
    points = np.concatenate([along, tail[:, 1:]], axis=1).astype(np.float32)
    radius = tapered(points, rng.uniform(0.004, 0.009), rng.uniform(0.1, 0.6), rng)
    return [Strands(points, radius, coat(points, hair_colour(rng), rng), rng.uniform(0.18, 0.42))], bodies


def _locks(rng: np.random.Generator) -> Object:
    """Hair alone: some locks that hang or lie in the air."""
    heading = unit(rng.normal(size=3) * (1, 0.3, 1) + (0, 0, rng.choice([-1.5, -1.5, 0, 1])))
    middles = rng.uniform(-1, 1, (int(rng.integers(1, 12)), 3)) * (1, 0.2, 0.4)
    each = int(FULL * 0.5 / len(middles))
    roots = np.repeat(middles, each, axis=0) + rng.normal(0, rng.uniform(0.05, 0.3), (len(middles) * each, 3)) - heading
    growth = Growth(
        length=rng.uniform(1.2, 3),
        length_spread=rng.uniform(0.1, 0.5),
        points=40,
        rise=0,
        gravity=rng.uniform(0, 1.5),
        wind=random_wind(rng, 0, 1.2),
        gusts=rng.uniform(0.2, 1.5),
        scatter=rng.uniform(0.02, 0.2),
        frizz=rng.uniform(0, 0.08),
        clump=rng.uniform(0, 0.95),
        clump_shape=rng.uniform(0.5, 2),
        guides=len(middles) * 8,
        curl=rng.choice([0, 0.05, 0.1]),
        turns=rng.uniform(1, 8),
        strays=rng.uniform(0.02, 0.2),
    )
    points = grow(roots, np.broadcast_to(heading, roots.shape), growth, [], rng)
    radius = tapered(points, rng.uniform(0.004, 0.012), rng.uniform(0.1, 0.6), rng)
    return [Strands(points, radius, coat(points, hair_colour(rng), rng), rng.uniform(0.18, 0.42))], []


HAIR_KINDS: dict[str, Recipe] = {
    "long": _long,
    "short": _short,
    "curly": _curly,
    "wispy": _wispy,
    "blowing": _blowing,
    "tied": _tied,
    "locks": _locks,
}
