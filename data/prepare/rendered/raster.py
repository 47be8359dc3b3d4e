"""Rasterisation of strands and bodies from far to near.

A pixel averages its cells, which gives colour and exact coverage alike.
A lens that is wide open is imitated in layers of depth, each blurred by its circle of confusion and laid over those
behind; colour and coverage pass through the same steps, so that they always agree.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np

from data.prepare.drawing import defocus
from data.prepare.rendered.growth import smooth_field
from data.prepare.rendered.scene import Camera, Ellipsoid, Scene, Strands, resampled, smoothed, unit
from data.prepare.rendered.shading import Density, fibre_light, surface_light, tube_light

LEVELS = 16384.0  # of 16 bits per unit of radiance: highlights up to 4 survive
SUBPIXELS = 4
LAYERS, LEAST_BLUR_PX = 7, 0.5  # of depth, where the lens is open; circles of less are taken as sharp
SHADED = {"fibre": 8, "tube": 64}  # points of a strand at which light is computed
STEP_PX = 5.0
STRIP_PX, MOST_STRIPS = {"fibre": 1.5, "tube": 1.2}, 24  # wanted width of a strip, and their number
MAX_PATCHES = 300_000  # of strands
MESH = (64, 40)  # patches of a body, about and along its axis, whose light is computed
MESH_PX, MESH_MOST = 3.0, 420  # wanted side of a patch, and the most about the axis


@dataclass
class Patches:
    """Quadrilaterals of one colour each."""

    corners: np.ndarray  # (M, 4, 2) float32, pixels
    colour: np.ndarray  # (M, 3) float32, linear
    depth: np.ndarray  # (M,) float32

    @staticmethod
    def joined(parts: "list[Patches]") -> "Patches":
        return Patches(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("corners", "colour", "depth"))
        )

    def chosen(self, index: np.ndarray) -> "Patches":
        return Patches(self.corners[index], self.colour[index], self.depth[index])


def render(scene: Scene, size: int) -> np.ndarray:
    """Premultiplied linear colour and coverage (size, size, 4) float32."""
    rng = np.random.default_rng(scene.seed)
    density = Density(scene.coats, rng)
    parts = [body_patches(body, scene, density, size) for body in scene.bodies]
    for coat in scene.coats:
        strands = seen(coat, scene.camera, size)
        if len(strands.points):
            parts += strand_patches(strands, scene, density, size)
    if not parts:
        return np.zeros((size, size, 4), np.float32)
    patches = Patches.joined(parts)
    return paint(patches, size) if scene.camera.focus is None else paint_layers(patches, scene, size)


def breadth_px(strands: Strands, camera: Camera, size: int) -> float:
    """Breadth of most strands in the half at their roots."""
    half = max(1, strands.points.shape[1] // 2)
    depth = camera.project(strands.points[:, :half], size)[..., 2]
    return float(np.percentile(2 * strands.radius[:, :half] / depth, 80)) * size * camera.distance / camera.extent


def point_count(strands: Strands, camera: Camera, size: int, layers: int = 1) -> int:
    """Points per strand that hide corners, within the limit on patches."""
    flat = camera.project(strands.points[:: max(1, len(strands.points) // 500)], size)[..., :2]
    count, step = strands.points.shape[1], np.linalg.norm(np.diff(flat, axis=1), axis=-1)
    wanted = count * np.percentile(step, 75) / STEP_PX if step.size else count
    if strands.surface == "tube":
        wanted = max(wanted, count)
    return int(np.clip(wanted, 8, max(12, MAX_PATCHES // (layers * max(len(strands.points), 1)))))


def seen(strands: Strands, camera: Camera, size: int) -> Strands:
    """Strands that reach into the frame."""
    flat = camera.project(strands.points, size)
    margin = 0.05 * size
    near = ((flat[..., :2] > -margin) & (flat[..., :2] < size + margin)).all(axis=-1) & (flat[..., 2] > 0.05)
    return strands.chosen(near.any(axis=1))


def strand_patches(strands: Strands, scene: Scene, density: Density, size: int) -> list[Patches]:
    """Ribbons that face the camera, in strips where they are wide."""
    shaded = min(SHADED[strands.surface], strands.points.shape[1])
    coarse = replace(
        strands,
        points=resampled(strands.points, shaded),
        colour=resampled(strands.colour, shaded),
        radius=resampled(strands.radius[..., None], shaded)[..., 0],
    )
    breadth = breadth_px(strands, scene.camera, size)
    count = point_count(strands, scene.camera, size, len(strips(breadth, strands.surface)))
    flat = scene.camera.project(smoothed(strands.points, count), size)
    along = np.gradient(flat[..., :2], axis=1)
    side = np.stack([along[..., 1], -along[..., 0]], axis=-1)
    side /= np.maximum(np.linalg.norm(side, axis=-1, keepdims=True), 1e-6)
    radius = smoothed(strands.radius[..., None], count)[..., 0]
    half = radius * (size * scene.camera.distance / scene.camera.extent) / flat[..., 2]
    depth = (flat[:, 1:, 2] + flat[:, :-1, 2]) / 2
    near = (flat[:, 1:, 2] > 0.05) & (flat[:, :-1, 2] > 0.05) & _in_frame(flat[..., :2], half, size)
    parts = []
    for offset, share in strips(breadth, strands.surface):
        if strands.surface == "tube":
            light = tube_light(coarse, scene, density, offset)
        elif not parts:
            light = fibre_light(coarse, scene, density)
        fine = resampled(light, count) * (1.0 if strands.surface == "tube" else 1.1 - 0.6 * offset**2)
        middle, reach = flat[..., :2] + side * (half * offset)[..., None], (half * share)[..., None] * side
        left, right = middle - reach, middle + reach
        corners = np.stack([left[:, :-1], right[:, :-1], right[:, 1:], left[:, 1:]], axis=2)
        colour = (fine[:, 1:] + fine[:, :-1]) / 2
        # The middle of a tube bulges towards the camera.
        parts.append(Patches(corners[near], colour[near], (depth - (1 - abs(offset)) * radius[:, 1:] * 0.5)[near]))
    return parts


def _in_frame(flat: np.ndarray, half: np.ndarray, size: int) -> np.ndarray:
    """Mask (N, P - 1) of segments that may reach into the frame."""
    low, high = np.minimum(flat[:, 1:], flat[:, :-1]), np.maximum(flat[:, 1:], flat[:, :-1])
    reach = np.maximum(half[:, 1:], half[:, :-1])[..., None] + 1
    return ((high > -reach) & (low < size + reach)).all(axis=-1)


def strips(breadth_px: float, surface: str) -> list[tuple[float, float]]:
    """Middles (-1 to 1) and half widths of a strand's strips."""
    count = int(np.clip(round(breadth_px / STRIP_PX[surface]), 1, MOST_STRIPS))
    edges = np.linspace(-1, 1, count + 1)
    if surface == "tube":
        edges = np.sin(edges * np.pi / 2)
    # Neighbours overlap a little, or gaps would show between them.
    return [((low + high) / 2, (high - low) / 2 * (1.15 if count > 1 else 1)) for low, high in pairwise(edges)]


def body_patches(body: Ellipsoid, scene: Scene, density: Density, size: int) -> Patches:
    """Visible half of a body: coarse mesh for light, fine for shape."""
    coarse = _sphere(*MESH)
    points, normals = body.world(coarse), body.normals(coarse)
    facing = (unit(scene.camera.position - points) * normals).sum(-1) > -0.3
    light = np.zeros(points.shape, np.float32)
    light[facing] = surface_light(points[facing], normals[facing], body, scene, density)
    radius_px = float(body.axes.max()) * size / scene.camera.extent
    about = int(np.clip(2 * np.pi * radius_px / MESH_PX, 24, MESH_MOST))
    fine = _sphere(about, about // 2)
    light = cv2.resize(light, (about + 1, about // 2 + 1), interpolation=cv2.INTER_LINEAR)
    rng = np.random.default_rng(scene.seed)
    points = body.world(fine)
    for scale in (0.6, 0.2):
        light *= np.exp(body.mottle * smooth_field(rng, scale)(points)[..., :1])
    flat = scene.camera.project(points, size).astype(np.float32)
    facing = ((scene.camera.position - points) * body.normals(fine)).sum(-1) > -0.05
    around = [np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, 1:], np.s_[1:, :-1]]
    corners = np.stack([flat[part] for part in around], axis=2).reshape(-1, 4, 3)
    colour = np.mean([light[part] for part in around], axis=0).reshape(-1, 3)
    near = np.logical_and.reduce([facing[part] for part in around]).ravel() & (corners[..., 2] > 0.05).all(axis=1)
    near &= (corners[..., :2].max(axis=1) > 0).all(axis=1) & (corners[..., :2].min(axis=1) < size).all(axis=1)
    return Patches(corners[near][..., :2], colour[near], corners[near][..., 2].mean(axis=1))


def _sphere(about: int, along: int) -> np.ndarray:
    """Points (along + 1, about + 1, 3) of the unit sphere."""
    angle, height = np.meshgrid(np.linspace(0, 2 * np.pi, about + 1), np.linspace(0, np.pi, along + 1))
    return np.stack([np.sin(height) * np.cos(angle), np.sin(height) * np.sin(angle), np.cos(height)], axis=-1)


def paint(patches: Patches, size: int) -> np.ndarray:
    """Premultiplied linear colour and coverage (size, size, 4) float32."""
    canvas = np.zeros((size * SUBPIXELS, size * SUBPIXELS, 4), np.uint16)
    order = np.argsort(-patches.depth)
    corners = patches.corners[order] * SUBPIXELS
    # OpenCV also paints the outline, half a cell outside the polygon.
    middle = corners.mean(axis=1, keepdims=True)
    corners = np.ascontiguousarray(np.rint(_inset(corners, middle) * 16 - 8).astype(np.int32))
    colours = np.minimum(patches.colour[order] * LEVELS, 65535).astype(np.int32)
    colours = np.concatenate([colours, np.full((len(colours), 1), 65535)], axis=1).tolist()
    for quad, colour in zip(corners, colours, strict=True):
        cv2.fillConvexPoly(canvas, quad, colour, cv2.LINE_8, 4)
    small = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    small[..., :3] /= LEVELS
    small[..., 3] /= 65535
    return small


def _inset(corners: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Move the long sides of quads (M, 4, 2) inwards by half a cell."""
    across = (corners[:, 0] - corners[:, 1] + corners[:, 3] - corners[:, 2]) / 2
    breadth = np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    shift = across / breadth * np.minimum(0.5, breadth / 2)
    return corners + np.stack([-shift, shift, shift, -shift], axis=1)


def paint_layers(patches: Patches, scene: Scene, size: int) -> np.ndarray:
    """Paint in layers of depth, each with its own blur."""
    camera = scene.camera
    scale = size / camera.extent * camera.distance
    blur = camera.aperture * scale * (1 / camera.focus - 1 / patches.depth)  # px, signed: near is negative
    edges = np.quantile(blur, np.linspace(0, 1, LAYERS + 1))
    result = np.zeros((size, size, 4), np.float32)
    for index in reversed(range(LAYERS)):
        # A layer takes along the one behind it, or gaps would open between both.
        last = edges[min(index + 2, LAYERS)]
        part = np.flatnonzero((blur >= edges[index]) & (blur <= last))
        if not len(part):
            continue
        layer, radius = paint(patches.chosen(part), size), abs(edges[index] + edges[index + 1]) / 2
        if radius >= LEAST_BLUR_PX:
            layer = defocus(layer, radius)
        result = layer + result * (1 - layer[..., 3:])
    return result
