"""Recipes of solid things: rounded and long parts with sharp outlines."""

import numpy as np

from data.prepare.rendered.colours import any_colour, skin_colour
from data.prepare.rendered.scene import Ellipsoid, Object, Recipe, Strands, turned


def _solid(rng: np.random.Generator) -> Object:
    """Rounded bodies and bars in a heap, as toys or fruit."""
    bodies, centre = [], np.zeros(3)
    for _ in range(int(rng.integers(2, 9))):
        colour = tuple(any_colour(rng)) if rng.random() < 0.7 else skin_colour(rng)
        axes = rng.uniform(0.15, 0.8, 3) * rng.choice([1.0, 1.0, 0.4], 3)
        bodies.append(
            Ellipsoid(
                centre=centre,
                axes=axes,
                turn=turned(rng.uniform(-1.5, 1.5, 3)),
                colour=colour,
                roughness=rng.uniform(0.1, 0.8),
                hairy=False,
                mottle=rng.uniform(0, 0.25),
            )
        )
        centre = bodies[rng.integers(len(bodies))].centre + rng.uniform(-0.8, 0.8, 3) * (1, 0.6, 1)
    count = int(rng.integers(1, 7))
    ends = rng.uniform(-1.4, 1.4, (count, 2, 3)) * (1, 0.4, 1)
    middle = ends.mean(axis=1, keepdims=True) + rng.normal(0, 0.4, (count, 1, 3))
    place = np.linspace(0, 1, 32)[None, :, None]
    bars = ends[:, :1] * (1 - place) ** 2 + 2 * middle * place * (1 - place) + ends[:, 1:] * place**2
    radius = np.exp(rng.uniform(np.log(0.015), np.log(0.15), (count, 1))) * np.ones((1, 32))
    colour = np.stack([any_colour(rng) for _ in range(count)])[:, None] * np.ones((1, 32, 1))
    coat = Strands(
        points=bars.astype(np.float32),
        radius=radius.astype(np.float32),
        colour=colour.astype(np.float32),
        roughness=rng.uniform(0.2, 0.7),
        surface="tube",
    )
    return [coat], bodies


SOLID_KINDS: dict[str, Recipe] = {"solid": _solid}
