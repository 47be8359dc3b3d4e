"""Recipes of feathers, grass, straw and brushes."""

import numpy as np

from data.prepare.rendered.colours import HAIR, WARM, any_colour, hair_colour
from data.prepare.rendered.growth import Growth, grow, smooth_field, tapered
from data.prepare.rendered.scene import Object, Recipe, Strands, turned, unit


def _vane(rng: np.random.Generator, base: np.ndarray, barbs: int) -> list[Strands]:
    """Feather: a shaft with barbs on both sides, downy at its root."""
    shaft = np.linspace(0, 1, 40)
    bend, lift = rng.normal(0, 0.35), rng.normal(0, 0.25)
    spine = np.stack([bend * shaft**2, lift * shaft**2, 2 * shaft - 1], axis=-1)
    where, side = np.repeat(np.linspace(0.12, 1, barbs), 2), np.tile([-1.0, 1.0], barbs)
    breadth, asym = rng.uniform(0.18, 0.5), rng.uniform(0.5, 1)
    root = np.stack([np.interp(where, shaft, spine[:, axis]) for axis in range(3)], axis=-1)
    shape = np.sin(np.pi * np.clip(where * 0.96 + 0.02, 0, 1) ** 0.7) ** 0.6
    reach = breadth * shape * np.where(side > 0, asym, 1) * np.exp(rng.normal(0, 0.03, len(where)))
    downy = np.clip(1 - (where - 0.12) / rng.uniform(0.08, 0.5), 0, 1)
    lean = rng.uniform(0.35, 0.9)
    step = np.linspace(0, 1, 16)[None, :, None]
    first = np.stack([side * np.cos(lean), np.zeros_like(side), np.full_like(side, np.sin(lean))], axis=-1)[:, None]
    curl = np.stack([np.zeros_like(side), np.full_like(side, rng.normal(0, 0.2)), np.full_like(side, 0.35)], -1)[
        :, None
    ]
    points = root[:, None] + reach[:, None, None] * (first * step + curl * step**2)
    # Neighbours hold together in groups, and part where the feather is ruffled.
    groups = np.cumsum(rng.random(len(where)) < rng.uniform(0.01, 0.08))
    points = points + (rng.normal(0, rng.uniform(0.02, 0.08), (groups.max() + 1, 1, 3))[groups] * step**1.5)
    loose = smooth_field(rng, 0.2)(points + rng.normal(0, 1, (len(where), 1, 3)))
    points = points + loose * downy[:, None, None] * 0.12 * step
    colour = np.broadcast_to(base, points.shape) * np.exp(rng.normal(0, 0.06, (len(where), 1, 1)))
    colour = _marked(colour, where[:, None] + 0.15 * step[..., 0], np.abs(step[..., 0]) + 0 * where[:, None], rng)
    thick = 1.15 / barbs * (1 - 0.55 * downy)
    radius = np.clip(thick[:, None] * np.linspace(1, 0.3, 16) * np.ones_like(where)[:, None], 0.0006, 1)
    quill = spine[None]
    shade = np.broadcast_to(np.clip(base * 0.8 + 0.1, 0, 0.9), quill.shape)
    return [
        Strands(
            points.astype(np.float32), radius.astype(np.float32), np.clip(colour, 0.004, 0.93).astype(np.float32), 0.35
        ),
        Strands(
            points=quill.astype(np.float32),
            radius=np.linspace(rng.uniform(0.008, 0.018), 0.003, 40)[None].astype(np.float32),
            colour=shade.astype(np.float32),
            roughness=0.3,
            surface="tube",
        ),
    ]


def _marked(colour: np.ndarray, along: np.ndarray, out: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bars, an eye or a tip of a second colour."""
    style, second = rng.choice(["plain", "bars", "eye", "tip", "edge"]), hair_colour(rng, 0.3)
    if style == "bars":
        share = np.clip(np.sin(along * rng.uniform(20, 60)) * 3, 0, 1)
    elif style == "eye":
        share = np.clip(6 * (0.22 - np.hypot(along - 0.85, out * 0.3)), 0, 1)
    elif style == "tip":
        share = np.clip((along - rng.uniform(0.5, 0.9)) * 8, 0, 1)
    else:
        share = np.clip((out - 0.7) * 5, 0, 1) * (style == "edge")
    return colour * (1 - share[..., None]) + second * share[..., None]


def _feather(rng: np.random.Generator) -> Object:
    strands: list[Strands] = []
    base = hair_colour(rng, 0.3)
    for index in range(int(rng.choice([1, 1, 2, 3, 5]))):
        turn, move = turned(rng.normal(0, 0.3, 3) * (1, 3, 1)), rng.normal(0, 0.35, 3) * (index > 0)
        for part in _vane(rng, base, int(rng.integers(160, 420))):
            part.points = (part.points @ turn.T + move).astype(np.float32)
            strands.append(part)
    return strands, []


def _down(rng: np.random.Generator) -> Object:
    """Seeds or down: fine branching fluff about a middle."""
    strands: list[Strands] = []
    for _ in range(int(rng.integers(1, 6))):
        centre, count = rng.uniform(-1, 1, 3) * (1, 0.2, 1), int(rng.integers(60, 220))
        first = unit(rng.normal(size=(count, 3)) + np.array([0, 0, rng.uniform(0, 0.8)]))
        growth = Growth(
            length=rng.uniform(0.3, 0.8),
            length_spread=0.2,
            points=16,
            gravity=rng.uniform(-0.5, 0.8),
            scatter=0.1,
            frizz=0.04,
        )
        stems = grow(np.broadcast_to(centre, first.shape), first, growth, [], rng)
        picks = rng.integers(3, 16, (count, 90))
        roots = np.take_along_axis(stems, picks[..., None], axis=1).reshape(-1, 3)
        away = unit(np.repeat(first, 90, axis=0) + rng.normal(0, 0.9, roots.shape))
        fluff = grow(
            roots,
            away,
            Growth(length=rng.uniform(0.06, 0.25), length_spread=0.4, points=10, gravity=0, scatter=0.2, frizz=0.35),
            [],
            rng,
        )
        colour = np.array(HAIR["white"]) * rng.uniform(0.5, 1) if rng.random() < 0.7 else hair_colour(rng)
        for part, width in ((stems, 0.004), (fluff, rng.uniform(0.0008, 0.0016))):
            shade = np.broadcast_to(colour, part.shape).astype(np.float32)
            strands.append(Strands(part, tapered(part, width, 0.3, rng), shade, 0.4))
    return strands, []


def _grass(rng: np.random.Generator) -> Object:
    """Blades, stalks with ears, or straw."""
    count, tall = int(rng.uniform(60, 900)), rng.uniform(0.8, 2)
    roots = np.stack(
        [rng.uniform(-1.6, 1.6, count), rng.uniform(-0.6, 0.6, count), rng.normal(-1, 0.06, count)], axis=-1
    )
    dry = rng.random() < 0.4
    growth = Growth(
        length=tall,
        length_spread=rng.uniform(0.15, 0.5),
        points=20,
        rise=1,
        gravity=0.1 if dry else rng.uniform(0.2, 1.6),
        wind=(rng.normal(0, 0.5), 0.0, 0.0),
        gusts=rng.uniform(0.1, 0.6),
        scatter=rng.uniform(0.1, 0.4),
        frizz=rng.uniform(0, 0.04),
        strays=0.1,
    )
    points = grow(roots, np.broadcast_to((0.0, 0.0, 1.0), roots.shape), growth, [], rng)
    green = np.array([0.1, 0.22, 0.03]) * np.exp(rng.normal(0, 0.35, 3)) * rng.uniform(0.5, 1.6)
    straw = np.array([0.6, 0.45, 0.2]) * np.exp(rng.normal(0, 0.12, 3))
    share = np.clip(
        rng.normal(0.9 if dry else 0.12, 0.25, (count, 1, 1)) + 0.2 * np.linspace(0, 1, 20)[None, :, None], 0, 1
    )
    colour = (green * (1 - share) + straw * share) * np.exp(rng.normal(0, 0.2, (count, 1, 1)))
    blade = tapered(points, rng.uniform(0.008, 0.05), 0.05, rng)
    strands = [Strands(points, blade, np.clip(colour, 0.004, 0.9).astype(np.float32), 0.35)]
    if rng.random() < 0.45:
        stalks = points[rng.random(count) < 0.3]
        picks = rng.integers(13, 20, (len(stalks), 50))
        heads = np.take_along_axis(stalks, picks[..., None], axis=1).reshape(-1, 3)
        first = unit(rng.normal(size=heads.shape) * 0.5 + (0, 0, 1))
        awns = grow(
            heads,
            first,
            Growth(length=rng.uniform(0.05, 0.25), length_spread=0.3, points=8, gravity=0.5, scatter=0.2),
            [],
            rng,
        )
        tone = np.broadcast_to(straw * rng.uniform(0.5, 1), awns.shape).astype(np.float32)
        strands.append(Strands(awns, tapered(awns, rng.uniform(0.003, 0.012), 0.1, rng), tone, 0.35))
    return strands, []


def _brush(rng: np.random.Generator) -> Object:
    """Bristles of brushes and brooms, in bundles on a bar."""
    bundles, each = int(rng.integers(8, 60)), int(rng.integers(20, 90))
    x = np.linspace(-1.2, 1.2, bundles)
    roots = np.repeat(np.stack([x, rng.normal(0, 0.05, bundles), np.zeros(bundles)], axis=-1), each, axis=0)
    roots += rng.normal(0, rng.uniform(0.01, 0.04), roots.shape) * (1, 1, 0)
    fan = rng.uniform(0, 0.5)
    first = unit(np.stack([roots[:, 0] * fan, roots[:, 1] * 2, np.full(len(roots), -1.0)], axis=-1))
    growth = Growth(
        length=rng.uniform(0.4, 1.3),
        length_spread=rng.uniform(0.02, 0.15),
        points=12,
        gravity=0,
        gusts=rng.uniform(0, 0.6),
        scatter=rng.uniform(0.02, 0.15),
        frizz=rng.uniform(0, 0.05),
    )
    points = grow(roots, first, growth, [], rng)
    base = any_colour(rng) if rng.random() < 0.4 else hair_colour(rng) * WARM
    colour = np.clip(base * np.exp(rng.normal(0, 0.15, (len(points), 1, 1))), 0.004, 0.9) * np.ones((1, 12, 1))
    bar = np.stack([np.linspace(-1.3, 1.3, 30), np.zeros(30), np.full(30, 0.08)], axis=-1)[None].astype(np.float32)
    wood = np.broadcast_to(np.array([0.4, 0.25, 0.12]) if rng.random() < 0.6 else any_colour(rng), bar.shape)
    return [
        Strands(points, tapered(points, rng.uniform(0.006, 0.016), 0.6, rng), colour.astype(np.float32), 0.3),
        Strands(
            points=bar,
            radius=np.full((1, 30), 0.12, np.float32),
            colour=wood.astype(np.float32),
            roughness=0.4,
            surface="tube",
        ),
    ], []


PLANT_KINDS: dict[str, Recipe] = {
    "feather": _feather,
    "down": _down,
    "grass": _grass,
    "brush": _brush,
}
