"""Growth of strands: roots, gravity, wind, clumps, curls and frizz."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from data.prepare.rendered.scene import Ellipsoid, unit

CLEARANCE = 1.01  # strands keep to this multiple of a body's radius
NEAREST_CHUNK = 4096  # roots whose distances to all guides are held at once


@dataclass(frozen=True)
class Growth:
    """Settings of one coat of hair; lengths in world units."""

    length: float
    length_spread: float = 0.25  # standard deviation of the logarithm
    points: int = 20
    rise: float = 0.5  # share of the normal in the first direction
    gravity: float = 0.5
    wind: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gusts: float = 0.0  # strength of a smooth random field
    scatter: float = 0.1  # differences between neighbours
    frizz: float = 0.0  # differences along a strand
    clump: float = 0.0  # share by which tips are drawn to their guide
    clump_shape: float = 1.0
    guides: int = 300
    curl: float = 0.0  # radius of the helix
    turns: float = 3.0
    strays: float = 0.03  # share of strands that leave the others


def sample_roots(
    bodies: Sequence[Ellipsoid],
    count: int,
    keep: Callable[[Ellipsoid, np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Sample roots and normals (N, 3) evenly over the free hairy surfaces.

    Args:
        keep: (body, local points) -> probability or mask of each.
    """
    hairy = [body for body in bodies if body.hairy]
    areas = np.array([_area(body) for body in hairy])
    roots, normals = [], []
    for body, share in zip(hairy, areas / areas.sum(), strict=True):
        local = unit(rng.normal(size=(int(count * share * 4) + 16, 3)))
        stretch = np.linalg.norm(local / body.axes, axis=1) * np.prod(body.axes)
        chosen = rng.random(len(local)) < stretch / stretch.max()
        chosen &= rng.random(len(local)) < keep(body, local)
        points = body.world(local)
        for other in bodies:
            if other is not body:
                chosen &= np.linalg.norm(other.local(points), axis=1) > 1
        index = np.flatnonzero(chosen)[: max(1, int(count * share))]
        roots.append(points[index])
        normals.append(body.normals(local[index]))
    return np.concatenate(roots), np.concatenate(normals)


def _area(body: Ellipsoid) -> float:
    """Thomsen's approximation."""
    first, second, third = body.axes**1.6
    return 4 * np.pi * ((first * second + first * third + second * third) / 3) ** (1 / 1.6)


def smooth_field(rng: np.random.Generator, scale: float, waves: int = 6) -> Callable[[np.ndarray], np.ndarray]:
    """Random vector field (..., 3) -> (..., 3) with details of about `scale`."""
    frequency = rng.normal(0, 2 / scale, (waves, 3))
    phase, weight = rng.uniform(0, 2 * np.pi, waves), rng.normal(0, (2 / waves) ** 0.5, (waves, 3))
    return lambda points: np.sin(points @ frequency.T + phase) @ weight


def random_wind(rng: np.random.Generator, low: float, high: float) -> tuple[float, float, float]:
    """A steady force of random direction, mostly level."""
    angle, force = rng.uniform(0, 2 * np.pi), rng.uniform(low, high)
    return (force * np.cos(angle), 0.5 * force * np.sin(angle), force * rng.uniform(-0.1, 0.4))


def grow(
    roots: np.ndarray, first: np.ndarray, growth: Growth, bodies: Sequence[Ellipsoid], rng: np.random.Generator
) -> np.ndarray:
    """Grow strands (N, P, 3) from roots and first directions (N, 3)."""
    count = len(roots)
    length = growth.length * np.exp(rng.normal(0, growth.length_spread, count))
    stray = rng.random(count) < growth.strays
    pull = np.where(stray, rng.uniform(0.0, 0.7, count), 1.0)
    heading = unit(first + rng.normal(0, 1, (count, 3)) * (growth.scatter * np.where(stray, 4, 1))[:, None])
    gusts, ripple = smooth_field(rng, 1.2), smooth_field(rng, 0.25)
    step = (length / (growth.points - 1))[:, None]
    own = rng.normal(0, 1, (count, 3))
    points = np.empty((count, growth.points, 3))
    points[:, 0] = roots
    for index in range(1, growth.points):
        place = points[:, index - 1]
        force = np.array(growth.wind) + gusts(place) * growth.gusts + np.array([0, 0, -growth.gravity])
        own = 0.7 * own + 0.7 * rng.normal(0, 1, (count, 3))
        rough = growth.frizz * np.where(stray, 2.0, 1.0)[:, None]
        heading = unit(heading + force * pull[:, None] * step + rough * (own + ripple(place)) * np.sqrt(step))
        points[:, index] = outside(place + heading * step, bodies)
        heading = unit(points[:, index] - place)
    points = _clumped(points, growth, np.where(stray, 0.2, 1.0), rng)
    return points.astype(np.float32)


def outside(points: np.ndarray, bodies: Sequence[Ellipsoid]) -> np.ndarray:
    """Points (N, 3) pushed out of the bodies."""
    for body in bodies:
        local = body.local(points)
        distance = np.linalg.norm(local, axis=-1, keepdims=True)
        pushed = body.world(local / np.maximum(distance, 1e-6) * CLEARANCE)
        points = np.where(distance < CLEARANCE, pushed, points)
    return points


def _clumped(points: np.ndarray, growth: Growth, share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw strands to their nearest guide, then curl them with it."""
    count = len(points)
    place = np.linspace(0, 1, growth.points)
    guides = rng.choice(count, min(growth.guides, count), replace=False)
    nearest = nearest_of(points[:, 0], points[guides, 0])
    if growth.clump > 0:
        weight = growth.clump * share * rng.uniform(0.6, 1, count)
        weight = weight[:, None, None] * (place**growth.clump_shape)[None, :, None]
        points = points * (1 - weight) + points[guides[nearest]] * weight
    if growth.curl > 0:
        phase = rng.uniform(0, 2 * np.pi, len(guides))[nearest] + rng.normal(0, 0.35, count)
        speed = growth.turns * np.exp(rng.normal(0, 0.12, len(guides))[nearest] + rng.normal(0, 0.02, count))
        angle = phase[:, None] + 2 * np.pi * speed[:, None] * place
        along = unit(np.gradient(points, axis=1))
        first = unit(np.cross(along, np.array([0.31, -0.87, 0.38])))
        second = np.cross(along, first)
        reach = growth.curl * np.minimum(place * 3, 1)[None, :, None] * np.exp(rng.normal(0, 0.2, count))[:, None, None]
        points = points + reach * (np.cos(angle)[..., None] * first + np.sin(angle)[..., None] * second)
    return points


def nearest_of(points: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Index (N,) of the candidate (M, 3) nearest to each point."""
    square = (candidates**2).sum(1)
    chunks = [
        np.argmin(square - 2 * points[start : start + NEAREST_CHUNK] @ candidates.T, axis=1)
        for start in range(0, len(points), NEAREST_CHUNK)
    ]
    return np.concatenate(chunks)


def tapered(points: np.ndarray, thickness: float, tip: float, rng: np.random.Generator) -> np.ndarray:
    """Radii (N, P) that fall to `tip` times the thickness at the end."""
    place = np.linspace(0, 1, points.shape[1])
    shape = 1 - (1 - tip) * np.clip((place - 0.5) / 0.5, 0, 1) ** 1.5
    return (thickness / 2 * np.exp(rng.normal(0, 0.2, (len(points), 1))) * shape).astype(np.float32)
