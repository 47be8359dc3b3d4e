"""Scenes of strands and bodies as plain arrays, for any renderer.

World units: a head has a radius of about 1; z points up; the front of an object faces -y.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np


@dataclass
class Strands:
    """Curves of equally many points and one kind of surface."""

    points: np.ndarray  # (N, P, 3) float32
    radius: np.ndarray  # (N, P) float32
    colour: np.ndarray  # (N, P, 3) float32, linear reflectance
    roughness: float = 0.3
    surface: Literal["fibre", "tube"] = "fibre"  # a fibre lets light through, a tube is solid

    def chosen(self, index: np.ndarray) -> "Strands":
        """Some of the strands."""
        return replace(self, points=self.points[index], radius=self.radius[index], colour=self.colour[index])


def resampled(values: np.ndarray, count: int) -> np.ndarray:
    """Resample (N, P, C) to (N, count, C) linearly."""
    place = np.linspace(0, values.shape[1] - 1, count)
    low = np.minimum(place.astype(int), values.shape[1] - 2)
    share = (place - low)[None, :, None].astype(values.dtype)
    return values[:, low] * (1 - share) + values[:, low + 1] * share


def smoothed(values: np.ndarray, count: int) -> np.ndarray:
    """Resample (N, P, C) to (N, count, C) by Catmull-Rom splines."""
    place = np.linspace(0, values.shape[1] - 1, count)
    low = np.minimum(place.astype(int), values.shape[1] - 2)
    t = (place - low)[None, :, None].astype(np.float32)
    before, after = np.maximum(low - 1, 0), np.minimum(low + 2, values.shape[1] - 1)
    first, second, third, fourth = values[:, before], values[:, low], values[:, low + 1], values[:, after]
    slope = second * 2 + (third - first) * t
    return (
        slope + (2 * first - 5 * second + 4 * third - fourth) * t**2 + (3 * second - first - 3 * third + fourth) * t**3
    ) / 2


@dataclass
class Ellipsoid:
    """A solid part of a body."""

    centre: np.ndarray  # (3,)
    axes: np.ndarray  # (3,) half lengths
    turn: np.ndarray = field(default_factory=lambda: np.eye(3))  # (3, 3), columns are the axes' directions
    colour: tuple[float, float, float] = (0.5, 0.35, 0.27)
    roughness: float = 0.5
    hairy: bool = True
    mottle: float = 0.05  # differences of its colour

    def local(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) scaled so that the surface has length 1."""
        matrix = (self.turn / self.axes).astype(points.dtype)
        return points @ matrix - (self.centre @ matrix).astype(points.dtype)

    def world(self, local: np.ndarray) -> np.ndarray:
        """Inverse of `local`."""
        return (local * self.axes) @ self.turn.T + self.centre

    def normals(self, local: np.ndarray) -> np.ndarray:
        """Unit normals (..., 3) in the world at local surface points."""
        return unit((local / self.axes) @ self.turn.T)


@dataclass(frozen=True)
class Camera:
    """A pinhole or a thin lens."""

    position: np.ndarray  # (3,)
    target: np.ndarray  # (3,)
    roll: float  # radians
    extent: float  # world units that the frame spans at the target
    focus: float | None = None  # distance that is sharp; None: everything
    aperture: float = 0.0  # radius of the lens in world units

    @property
    def distance(self) -> float:
        return float(np.linalg.norm(self.target - self.position))

    def frame(self) -> np.ndarray:
        """(3, 3): unit vectors right, up and forward as rows."""
        forward = unit(self.target - self.position)
        right = unit(np.cross(forward, (0.0, 0.0, 1.0)))
        up = np.cross(right, forward)
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        return np.stack([cos * right + sin * up, cos * up - sin * right, forward])

    def project(self, points: np.ndarray, size: int) -> np.ndarray:
        """Project (..., 3) to x, y in pixels and the distance along the view."""
        right, up, forward = self.frame().astype(points.dtype)
        offset = points - self.position.astype(points.dtype)
        depth = np.maximum(offset @ forward, 1e-3)
        scale = size * self.distance / (self.extent * depth)
        return np.stack([size / 2 + offset @ right * scale, size / 2 - offset @ up * scale, depth], axis=-1)


@dataclass(frozen=True)
class Light:
    """A distant lamp."""

    direction: np.ndarray  # (3,) unit, towards the lamp
    colour: np.ndarray  # (3,) linear radiance
    size: float = 0.2  # radius of the lamp per distance


@dataclass
class Scene:
    """Everything a renderer needs."""

    kind: str
    coats: list[Strands]
    bodies: list[Ellipsoid]
    camera: Camera
    lights: list[Light]
    sky: np.ndarray  # (2, 3): ambient radiance from above and from below
    world: int  # number of an environment picture, for renderers that have some
    seed: int


Object = tuple[list[Strands], list[Ellipsoid]]
Recipe = Callable[[np.random.Generator], Object]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def turned(angles: np.ndarray) -> np.ndarray:
    """(3, 3) rotation by Euler angles about x, y and z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        cos, sin = np.cos(angle), np.sin(angle)
        step = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        step[first, first] = step[second, second] = cos
        step[first, second], step[second, first] = -sin, sin
        matrix = step @ matrix
    return matrix
