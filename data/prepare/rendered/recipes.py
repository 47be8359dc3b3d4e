"""Scenes drawn by kind: object, camera and light."""

from collections.abc import Sequence

import numpy as np

from data.prepare.rendered.colours import COOL, WARM
from data.prepare.rendered.fur import FUR_KINDS
from data.prepare.rendered.hair import HAIR_KINDS
from data.prepare.rendered.lashes import lashes
from data.prepare.rendered.nets import NET_KINDS
from data.prepare.rendered.plants import PLANT_KINDS
from data.prepare.rendered.scene import Camera, Light, Recipe, Scene, Strands, unit
from data.prepare.rendered.solids import SOLID_KINDS

STRAND_KINDS: dict[str, Recipe] = HAIR_KINDS | FUR_KINDS | {"lashes": lashes}
RECIPES = STRAND_KINDS | PLANT_KINDS | NET_KINDS | SOLID_KINDS
CLOSE = 0.45  # share of pictures that show a part from near
REFERENCE_PX = 640
SOFT = 0.25  # share with a shallow depth of field


def make_scene(kind: str, rng: np.random.Generator) -> Scene:
    """Draw everything about a picture."""
    coats, bodies = RECIPES[kind](rng)
    camera, close = _camera(coats, kind, rng)
    if kind in STRAND_KINDS:
        factor = _thickness(coats[0], camera, close, rng)
        for strands in coats:
            strands.radius *= factor
    lights, sky = _lights(rng)
    return Scene(kind, coats, bodies, camera, lights, sky, int(rng.integers(2**31)), int(rng.integers(2**31)))


def _camera(coats: Sequence[Strands], kind: str, rng: np.random.Generator) -> tuple[Camera, bool]:
    """Camera position, and True if it is close to the outline."""
    flat = np.concatenate([strands.points[:, ::3].reshape(-1, 3) for strands in coats])
    low, high = np.percentile(flat, [2, 98], axis=0)
    centre, reach = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    angle = rng.uniform(-np.pi, np.pi)
    if kind == "animal":
        angle = rng.normal(0, 0.6)
    elif kind in NET_KINDS or kind == "feather":
        angle = rng.normal(0, 0.45)
    elif kind == "lashes":
        angle = rng.choice([-1, 1]) * rng.uniform(0.5, 1.6)
    view = unit(np.array([np.sin(angle), -np.cos(angle), rng.uniform(-0.25, 0.45)]))
    distance = reach * rng.uniform(3, 7)
    extent = 2 * reach * rng.uniform(0.75, 1.25) * (0.7 if kind == "feather" else 1)
    target = centre + rng.normal(0, 0.12, 3) * reach
    if kind in ("net", "lace", "fence"):
        extent *= rng.uniform(0.4, 1.1)
    close = rng.random() < CLOSE
    if close:
        across = flat - centre - ((flat - centre) @ view)[:, None] * view
        far = np.linalg.norm(across, axis=1)
        outline = flat[(far > np.percentile(far, 80)) & (far < np.percentile(far, 97))]
        target = outline[rng.integers(len(outline))]
        extent *= rng.uniform(0.3, 0.65)
    roll = rng.normal(0, 0.15) if kind in ("long", "tied", "animal") else rng.normal(0, 0.4)
    focus, aperture = None, 0.0
    if rng.random() < SOFT:
        focus, aperture = distance - reach * rng.uniform(-0.3, 0.7), extent * rng.uniform(0.02, 0.12)
    return Camera(target + view * distance, target, roll, extent, focus, aperture), close


def _thickness(strands: Strands, camera: Camera, close: bool, rng: np.random.Generator) -> float:
    """Factor for radii that gives strands their width in pixels."""
    wanted = np.exp(rng.uniform(np.log(0.35), np.log(1.6))) * (rng.uniform(1, 2.5) if close else 1)
    return float(wanted * camera.extent / REFERENCE_PX / (2 * np.median(strands.radius)))


def _lights(rng: np.random.Generator) -> tuple[list[Light], np.ndarray]:
    """One to three lamps, some from behind, and a sky."""
    lights = []
    for index in range(int(rng.integers(1, 4))):
        direction = unit(rng.normal(size=3) * (1, 0.8, 0.6) + (0, 0.8 if index else -0.4, 0.5))
        tint = WARM ** rng.uniform(0, 1.2) if rng.random() < 0.6 else COOL ** rng.uniform(0, 1.2)
        lights.append(Light(direction, tint * rng.uniform(0.6, 3) / (1 + index * 0.5), rng.uniform(0.02, 0.8)))
    above = COOL ** rng.uniform(0, 1.5) * rng.uniform(0.15, 0.9)
    below = WARM ** rng.uniform(0, 1) * above.mean() * rng.uniform(0.1, 0.8)
    return lights, np.stack([above, below])
