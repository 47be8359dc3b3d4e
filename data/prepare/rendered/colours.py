"""Colours of hair, fur, skin, cloth and light, linear."""

import colorsys

import numpy as np

HAIR = {  # reflectance of a single fibre
    "black": (0.012, 0.009, 0.007),
    "dark brown": (0.05, 0.025, 0.013),
    "brown": (0.13, 0.065, 0.03),
    "auburn": (0.24, 0.075, 0.025),
    "ginger": (0.5, 0.2, 0.06),
    "dark blond": (0.36, 0.23, 0.11),
    "blond": (0.62, 0.43, 0.21),
    "platinum": (0.85, 0.73, 0.52),
    "grey": (0.38, 0.37, 0.36),
    "white": (0.9, 0.88, 0.84),
}
WEIGHTS = (0.16, 0.16, 0.15, 0.08, 0.07, 0.09, 0.09, 0.05, 0.08, 0.07)
WARM = np.array([1.0, 0.78, 0.55])  # a lamp or a low sun
COOL = np.array([0.75, 0.87, 1.0])  # the sky


def hair_colour(rng: np.random.Generator, dyed: float = 0.08) -> np.ndarray:
    """Natural hair colour (3,), of any hue with probability `dyed`."""
    if rng.random() < dyed:
        return any_colour(rng)
    base = np.array(list(HAIR.values())[rng.choice(len(HAIR), p=WEIGHTS)])
    return np.clip(base * np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.06, 3)), 0.004, 0.93)


def any_colour(rng: np.random.Generator) -> np.ndarray:
    """Colour (3,) of any hue, dull to strong, dark to light."""
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.05, 0.9), rng.uniform(0.05, 0.9)))


def skin_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """Skin colour, pale to dark."""
    depth = rng.random()
    pale, dark = np.array([0.75, 0.5, 0.38]), np.array([0.09, 0.045, 0.03])
    return tuple(pale ** (1 - depth) * dark**depth * np.exp(rng.normal(0, 0.08, 3)))


def coat(points: np.ndarray, base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colours (N, P, 3) along strands: shades, tips, bands and patches."""
    count, steps = points.shape[:2]
    place = np.linspace(0, 1, steps)[None, :, None]
    colour = base * np.exp(rng.normal(0, rng.uniform(0.05, 0.3), (count, 1, 1))) * np.ones((1, steps, 1))
    style = rng.choice(["plain", "roots", "tips", "bands", "patches", "grey"], p=[0.3, 0.2, 0.15, 0.1, 0.15, 0.1])
    if style == "roots":
        colour = colour * (rng.uniform(0.25, 0.8) + (1 - rng.uniform(0.25, 0.8)) * np.minimum(place * 2, 1))
    elif style == "tips":
        share = np.clip((place - rng.uniform(0.3, 0.8)) * 4, 0, 1)
        colour = colour * (1 - share) + hair_colour(rng, 0.2) * share
    elif style == "bands":
        share = 0.5 + 0.5 * np.sin(2 * np.pi * place * rng.uniform(0.7, 2.5) + rng.uniform(0, 6))
        colour = colour * (1 - share) + hair_colour(rng, 0) * share
    elif style == "patches":
        from data.prepare.rendered.growth import smooth_field

        value = smooth_field(rng, rng.uniform(0.3, 1.2))(points[:, 0])[:, 0]
        share = np.clip(value * rng.uniform(2, 8) + rng.normal(0, 0.6), 0, 1)[:, None, None]
        colour = colour * (1 - share) + hair_colour(rng, 0) * share
    elif style == "grey":
        share = (rng.random(count) < rng.uniform(0.05, 0.5))[:, None, None]
        colour = np.where(share, np.array(HAIR["white"]) * 0.85, colour)
    return np.clip(colour, 0.003, 0.93).astype(np.float32)
