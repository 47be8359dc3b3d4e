"""Light on strands and bodies: fibre lobes, shadows, a sky.

A fibre reflects at its surface (white), lets light through (its colour), and reflects inside (its colour, deeper).
Light that has crossed other fibres keeps a share of each colour per fibre, so that pale hair glows and dark does not.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from data.prepare.rendered.scene import Ellipsoid, Scene, Strands, unit

GRID = 56  # cells along the longest side of the density grid
STEPS = 12  # samples of a shadow ray
SOLID = np.float32(0.35)  # light that a solid strand leaves, as it seldom covers the whole ray
SKY_RAYS = 7
SMALL = 0.2  # bodies of less throw no shadow
TILT = 0.07  # radians by which scales of a fibre shift the reflection


class Density:
    """Grid of fibres met by a ray per unit of length."""

    def __init__(self, coats: Sequence[Strands], rng: np.random.Generator) -> None:
        places, areas = [np.zeros((1, 3), np.float32)][: not coats], [np.zeros(1)][: not coats]
        for strands in coats:
            ends, radius = strands.points, strands.radius
            step = ends[:, 1:] - ends[:, :-1]
            # At a random place of each segment: middles of straight strands would gather in layers.
            places.append((ends[:, :-1] + step * rng.random((*step.shape[:2], 1), np.float32)).reshape(-1, 3))
            length = np.linalg.norm(step, axis=-1)
            areas.append((length * (radius[:, 1:] + radius[:, :-1]) * np.pi / 4).ravel())
        flat, area = np.concatenate(places), np.concatenate(areas)
        reach = np.ptp(flat, axis=0)
        self.cell = np.float32(reach.max() / GRID + 1e-6)
        # An empty rim takes whatever lies outside.
        self.low = flat.min(axis=0) - 1.5 * self.cell
        self.shape = np.ceil(reach / self.cell).astype(np.int32) + 3
        total = np.bincount(self._index(flat), area, int(np.prod(self.shape)))
        self.values = (total / self.cell**3).astype(np.float32)
        self.rng = rng

    def _index(self, points: np.ndarray) -> np.ndarray:
        cells = ((points - self.low) / self.cell).astype(np.int32)
        index = np.zeros(points.shape[:-1], np.int32)
        for axis in range(3):
            index = index * self.shape[axis] + np.minimum(np.maximum(cells[..., axis], 0), self.shape[axis] - 1)
        return index

    def centres(self) -> np.ndarray:
        """Middles (N, 3) of the cells."""
        grid = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij"), axis=-1).reshape(-1, 3)
        return (self.low + (grid + 0.5) * self.cell).astype(np.float32)

    def near(self, points: np.ndarray) -> np.ndarray:
        """Fibres met within the cell about each point."""
        return self.values[self._index(points)] * self.cell

    def at(self, field: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Values of a field (cells, C) at points, between cells by chance."""
        spread = (self.rng.random(points.shape, np.float32) - 0.5) * self.cell
        return field[self._index(points + spread)]

    def depth(self, points: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Fibres (N,) met by rays from points (N, 3) in a direction."""
        edges = self.cell * np.geomspace(0.5, GRID * 1.2, STEPS + 1)
        total, direction = np.zeros(len(points), np.float32), direction.astype(np.float32)
        for start, stop in pairwise(edges):
            way = np.float32(start) + np.float32(stop - start) * self.rng.random((len(points), 1), np.float32)
            total += self.values[self._index(points + direction * way)] * np.float32(stop - start)
        return total


def light_through_bodies(
    points: np.ndarray, direction: np.ndarray, bodies: Sequence[Ellipsoid], softness: float
) -> np.ndarray:
    """Share (N,) of a distant lamp that bodies leave to points."""
    share = np.ones(len(points), np.float32)
    for body in bodies:
        if body.axes.max() < SMALL:
            continue
        start, along = body.local(points), (direction @ body.turn) / body.axes
        length = np.linalg.norm(along)
        nearest = -(start @ along) / length**2
        miss = np.linalg.norm(start + np.maximum(nearest, 0)[:, None] * along, axis=1)
        edge = 0.02 + softness * np.clip(nearest, 0, 2)
        clear = np.clip((miss - 1) / edge + 0.5, 0, 1)
        share *= np.where(nearest > 0.05, clear, 1.0)
    return share


def fibre_light(strands: Strands, scene: Scene, density: Density) -> np.ndarray:
    """Radiance (N, P, 3) that fibres send to the camera."""
    rng = density.rng
    count, steps = strands.points.shape[:2]
    along = unit(np.gradient(strands.points, axis=1)).reshape(-1, 3)
    points, colour = strands.points.reshape(-1, 3), strands.colour.reshape(-1, 3)
    view = unit(scene.camera.position - points)
    tilt = np.repeat(rng.normal(0, 0.06, count), steps)
    forward = fibre_transmission(colour)
    total = np.zeros_like(colour)
    for light in scene.lights:
        fibres = density.depth(points, light.direction)
        clear = light_through_bodies(points, light.direction, scene.bodies, light.size)
        reach = clear[:, None] * forward ** fibres[:, None]
        lobes = fibre_lobes(along, light.direction, view, colour, strands.roughness + 0.3 * light.size, tilt)
        total += light.colour * reach * lobes
    total += density.at(ambient_field(scene, density, forward.mean(axis=0)), points) * (0.8 * colour + 0.02)
    return total.reshape(count, steps, 3)


def tube_light(strands: Strands, scene: Scene, density: Density, offset: float) -> np.ndarray:
    """Radiance (N, P, 3) of solid strands at an offset (-1 to 1) across."""
    count, steps = strands.points.shape[:2]
    along = unit(np.gradient(strands.points, axis=1)).reshape(-1, 3)
    points, colour = strands.points.reshape(-1, 3), strands.colour.reshape(-1, 3)
    view = unit(scene.camera.position.astype(np.float32) - points)
    side = unit(np.cross(view, along))
    normals = unit(side * np.float32(offset) + unit(np.cross(along, side)) * np.float32(np.sqrt(1 - offset**2)))
    normals *= np.sign((normals * view).sum(axis=1, keepdims=True) + 1e-6)
    outer = points + normals * (strands.radius.reshape(-1, 1) + density.cell)
    shine = 2 / max(strands.roughness, 0.1) ** 2
    total = np.zeros_like(colour)
    for light in scene.lights:
        clear = light_through_bodies(points, light.direction, scene.bodies, light.size)
        reach = clear * SOLID ** density.depth(outer, light.direction)
        middle = unit(light.direction + view)
        gloss = np.clip((middle * normals).sum(axis=1), 0, 1) ** shine * (0.05 * shine**0.7)
        facing = np.clip(normals @ light.direction, 0, 1)
        total += light.colour * reach[:, None] * (facing[:, None] * colour + gloss[:, None] * (0.1 + 0.9 * colour))
    sky = scene.sky[1] + (scene.sky[0] - scene.sky[1]) * (normals[:, 2:] + 1) / 2
    mirrored = 0.5 + 0.5 * (2 * (normals * view).sum(axis=1) * normals[:, 2] - view[:, 2])
    reflection = scene.sky[1] + (scene.sky[0] - scene.sky[1]) * mirrored[:, None] ** 2
    total += sky * (colour * 1.3) * SOLID ** (0.5 * density.near(outer))[:, None]
    total += reflection * max(0.5 - strands.roughness, 0) * (0.1 + colour)
    return total.reshape(count, steps, 3)


def ambient_field(scene: Scene, density: Density, forward: np.ndarray) -> np.ndarray:
    """Light of the sky (cells, 3) that arrives in each cell."""
    used, total = np.flatnonzero(density.values), np.zeros((len(density.values), 3), np.float32)
    points = density.centres()[used]
    for direction, radiance in sky_rays(scene.sky, density.rng):
        clear = light_through_bodies(points, direction, scene.bodies, 0.6)
        total[used] += radiance * clear[:, None] * forward ** density.depth(points, direction)[:, None]
    return total


def fibre_transmission(colour: np.ndarray) -> np.ndarray:
    """Share of light (..., 3) that passes a fibre of that colour."""
    return 0.3 + 0.62 * np.sqrt(colour)


def fibre_lobes(
    along: np.ndarray, towards: np.ndarray, view: np.ndarray, colour: np.ndarray, roughness: float, tilt: np.ndarray
) -> np.ndarray:
    """Share (N, 3) of light from `towards` that fibres send to the viewer."""
    sin_in, sin_out = along @ towards, (along * view).sum(axis=1)
    flat_in, flat_out = (towards - sin_in[:, None] * along), view - sin_out[:, None] * along
    cos_in = np.sqrt(np.maximum(1 - sin_in**2, 1e-4))
    turn = (flat_in * flat_out).sum(axis=1) / (cos_in * np.sqrt(np.maximum(1 - sin_out**2, 1e-4)))
    half = (np.arcsin(np.clip(sin_in, -1, 1)) + np.arcsin(np.clip(sin_out, -1, 1))) / 2 + tilt
    surface = _bell(half - TILT, roughness) * np.sqrt(np.maximum((1 + turn) / 2, 0)) * 0.09
    through = _bell(half + TILT / 2, roughness * 0.8) * np.exp(-((1 + turn) ** 2) / 0.18) * 1.1
    inner = _bell(half + 1.5 * TILT, roughness * 1.8) * np.maximum(0.35 + 0.65 * turn, 0) * 0.5
    scattered = 0.55 * cos_in * (0.65 + 0.35 * turn)
    deep = np.sqrt(colour)
    return (
        cos_in[:, None] * surface[:, None]
        + through[:, None] * deep
        + (inner * cos_in)[:, None] * colour * deep**0.5
        + scattered[:, None] * colour
    )


def _bell(angle: np.ndarray, width: float) -> np.ndarray:
    """A normal curve of height 1 / (width * sqrt(2 pi))."""
    return np.exp(-0.5 * (angle / width) ** 2) / (width * 2.5066)


def sky_rays(sky: np.ndarray, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Directions over the sphere with the radiance of each."""
    index = np.arange(SKY_RAYS) + 0.5
    height, angle = 1 - 2 * index / SKY_RAYS, index * 2.39996 + rng.uniform(0, 6.28)
    flat = np.sqrt(1 - height**2)
    rays = np.stack([flat * np.cos(angle), flat * np.sin(angle), height], axis=1)
    share = (height[:, None] + 1) / 2
    return list(zip(rays, (sky[0] * share + sky[1] * (1 - share)) * 3 / SKY_RAYS, strict=True))


def surface_light(
    points: np.ndarray, normals: np.ndarray, body: Ellipsoid, scene: Scene, density: Density
) -> np.ndarray:
    """Radiance (N, 3) of a body: diffuse with soft shadows, and gloss."""
    view, base = unit(scene.camera.position - points), np.array(body.colour)
    total = np.zeros_like(points)
    veil = np.float32(0.45)  # share that a fibre lets pass
    for light in scene.lights:
        facing = np.clip((normals @ light.direction + 0.15) / 1.15, 0, 1)
        clear = light_through_bodies(points + 0.03 * normals, light.direction, scene.bodies, light.size)
        reach = facing * clear * veil ** density.depth(points, light.direction)
        middle = unit(light.direction + view)
        shine = np.clip((middle * normals).sum(1), 0, 1) ** (2 / max(body.roughness, 0.05) ** 2)
        gloss = 0.04 / max(body.roughness, 0.05) ** 1.5 * shine
        total += light.colour * reach[:, None] * (base * 0.9 + gloss[:, None])
    for direction, radiance in sky_rays(scene.sky, density.rng):
        facing = np.clip(normals @ direction, 0, 1) * 1.6
        clear = light_through_bodies(points + 0.03 * normals, direction, scene.bodies, 0.6)
        total += radiance * (facing * clear * veil ** density.depth(points, direction))[:, None] * base
    return total
