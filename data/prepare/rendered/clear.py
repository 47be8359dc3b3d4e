"""Recipes of smoke, spray, glass, bubbles and veils.

Each returns a premultiplied linear picture (size, size, 4).
"""

from collections.abc import Callable

import cv2
import numpy as np

from data.prepare.drawing import defocus, noise
from data.prepare.rendered.colours import COOL, WARM, any_colour

REFERENCE_PX = 640
SLICES = 10  # of a cloud, from far to near


def _warped(field: np.ndarray, strength: float, cells: float, rng: np.random.Generator) -> np.ndarray:
    """A field (H, W) drawn along by a random flow."""
    height, width = field.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    shift = [noise(height, width, cells, rng, octaves=3) * strength for _ in range(2)]
    return cv2.remap(field, x + shift[0], y + shift[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _over(front: np.ndarray, back: np.ndarray) -> np.ndarray:
    return front + back * (1 - front[..., 3:])


def _layer(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Premultiply a colour (3,) or (H, W, 3) by an alpha (H, W)."""
    return np.dstack([np.broadcast_to(colour, (*alpha.shape, 3)) * alpha[..., None], alpha]).astype(np.float32)


def _plume(size: int, rng: np.random.Generator) -> np.ndarray:
    """Envelope (size, size) of a cloud: column, puff, bank, or everywhere."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    style, sway = rng.choice(["column", "puff", "bank", "all"], p=[0.4, 0.3, 0.2, 0.1]), noise(size, size, 3, rng)
    if style == "column":
        level = (1 - y) / 2
        middle = rng.uniform(-0.3, 0.3) + rng.normal(0, 0.5) * level**2 + 0.2 * sway * level
        field = 1 - np.abs(x - middle) / (0.06 + rng.uniform(0.2, 0.7) * level) + 0.3 * (1 - level)
        return np.clip(field, 0, 1) * np.clip((1.1 - level) * 3, 0, 1)
    if style == "puff":
        return np.clip(
            1.3 - np.hypot(x - rng.normal(0, 0.2), y - rng.normal(0, 0.2)) / rng.uniform(0.4, 0.8) + 0.25 * sway, 0, 1
        )
    if style == "bank":
        return np.clip(0.5 + (y - rng.uniform(-0.3, 0.5)) * rng.uniform(0.8, 3) + 0.25 * sway, 0, 1)
    return np.clip(0.6 + 0.4 * sway, 0, 1)


def _smoke(size: int, rng: np.random.Generator) -> np.ndarray:
    """Turbulent cloud in slices that shade one another."""
    unit = size / REFERENCE_PX
    plume, wisps, cells = _plume(size, rng), rng.uniform(10, 60) * unit, rng.uniform(2, 6)
    thick, angle = rng.uniform(0.5, 5) / SLICES, rng.uniform(0, 2 * np.pi)
    tint = np.full(3, rng.uniform(0.05, 0.95)) if rng.random() < 0.75 else any_colour(rng)
    lamp = WARM ** rng.uniform(-0.3, 1) * rng.uniform(0.6, 1.4)
    shift = np.float32([[1, 0, 14 * unit * np.cos(angle)], [0, 1, 14 * unit * np.sin(angle)]])
    shadow, result = np.zeros((size, size), np.float32), np.zeros((size, size, 4), np.float32)
    sharp, stretch = rng.uniform(0.5, 1.6), rng.uniform(0.6, 1.5)
    for _ in range(SLICES):
        field = _warped(noise(size, size, cells, rng, octaves=6), wisps, cells * 0.7, rng)
        dense = plume**stretch * np.clip(0.35 + sharp * field * 0.5, 0, 2.5) * thick * 2
        shadow = 0.75 * cv2.warpAffine(shadow, shift, (size, size)) + dense
        lit = lamp * np.exp(-1.1 * cv2.GaussianBlur(shadow, (0, 0), 4 * unit))[..., None] + 0.3 * COOL
        result = _over(_layer(tint * lit, 1 - np.exp(-dense)), result)
    return result


def _spray(size: int, rng: np.random.Generator) -> np.ndarray:
    """Drops of many sizes, still or streaked, in a fine mist."""
    unit = size / REFERENCE_PX
    plume, fine = _plume(size, rng), 3
    canvas = np.zeros((size * fine, size * fine, 4), np.float32)
    count, biggest = int(rng.uniform(300, 6000)), rng.uniform(1, 5) * unit * fine
    place = rng.random((count * 4, 2)) * size
    place = place[rng.random(len(place)) < plume[place[:, 1].astype(int), place[:, 0].astype(int)] ** 1.5][:count]
    bright, angle, streak = COOL ** rng.uniform(0, 1), rng.normal(0, 0.5) + np.pi / 2, rng.choice([0, 1, 3, 8])
    for x, y in place * fine:
        radius = max(0.7, biggest * rng.pareto(2.5) * 0.25)
        radius = min(radius, biggest * 2)
        heading = angle + rng.normal(0, 0.3)
        tip = np.array([np.cos(heading), np.sin(heading)]) * radius * streak * rng.random()
        light = float(np.exp(rng.normal(-0.4, 0.5)))
        for scale, level, cover in ((1.0, 0.35, rng.uniform(0.35, 0.9)), (0.55, 0.8, 0.85), (0.25, 2.2, 1.0)):
            if radius * scale < 0.6 and scale < 1:
                continue
            colour = (*(float(part) for part in bright * light * level * cover), cover)
            ends = [tuple(round(value) for value in np.array([x, y]) + tip * side * scale) for side in (-1, 1)]
            cv2.line(canvas, *ends, colour, max(1, round(2 * radius * scale)), cv2.LINE_8)
    drops = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    mist = plume * np.clip(0.5 + 0.5 * _warped(noise(size, size, 5, rng, octaves=6), 20 * unit, 4, rng), 0, 1)
    result = _over(drops, _layer(bright * 0.9, mist * rng.uniform(0, 0.6)))
    if rng.random() < 0.5:
        far = np.rot90(drops, 2) * plume[..., None]
        result = _over(result, defocus(np.ascontiguousarray(far), rng.uniform(1.5, 6) * unit))
    return result


def _softboxes(across: np.ndarray, up: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrored windows and lamps: radiance by the direction of the normal."""
    total = np.zeros_like(across)
    for _ in range(int(rng.integers(1, 4))):
        middle, half = rng.uniform(-0.85, 0.85, 2), rng.uniform(0.03, 0.2, 2) * (1, 2.5)
        soft = rng.uniform(0.01, 0.08)
        box = np.clip((half[0] - np.abs(across - middle[0])) / soft, 0, 1) * np.clip(
            (half[1] - np.abs(up - middle[1])) / soft, 0, 1
        )
        total += box * rng.uniform(0.2, 3)
    return total + np.clip(up, 0, 1) ** 3 * rng.uniform(0, 0.5)


def _glass(size: int, rng: np.random.Generator) -> np.ndarray:
    """Glass vessel with rim, thick base and mirrored lamps; liquid in some."""
    v, u = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    tilt = rng.normal(0, 0.12)
    x, y = u * np.cos(tilt) - v * np.sin(tilt), u * np.sin(tilt) + v * np.cos(tilt)
    knots, top, base = np.linspace(-0.8, 0.8, 7), rng.uniform(-0.8, -0.4), rng.uniform(0.5, 0.85)
    widths = np.clip(rng.uniform(0.2, 0.5) * np.exp(rng.normal(0, rng.choice([0.1, 0.35]), 7)), 0.07, 0.75)
    levels = np.linspace(-1, 1, 400)
    profile = _soft(np.interp(levels, knots, widths))
    radius, slope = np.interp(y, levels, profile), np.interp(y, levels, np.gradient(profile, levels))
    edge = 2.2 / size
    cover = np.clip((radius - np.abs(x)) / edge, 0, 1)
    squash = rng.uniform(0.02, 0.22)  # of the circles at mouth and base
    lid = np.sqrt(np.maximum(1 - (x / np.maximum(radius, 1e-3)) ** 2, 0)) * radius * squash
    cover *= np.clip((y - (top - lid)) / edge, 0, 1) * np.clip((base + lid - y) / edge, 0, 1)
    across = np.clip(x / np.maximum(radius, 1e-3), -1, 1)
    facing = np.sqrt(np.maximum(1 - across**2, 1e-3))
    wall, tint = rng.uniform(0.02, 0.15), any_colour(rng) ** rng.choice([0.1, 0.3, 1.0])
    path = np.minimum(wall / facing, 1.2) * 2 + 0.9 * np.exp(-(((base - y) / rng.uniform(0.02, 0.1)) ** 2))
    fresnel = 0.04 + 0.96 * (1 - facing) ** 4
    mouth = np.exp(-((np.minimum(np.abs(y - top - lid), np.abs(y - top + lid)) / (0.006 + 2 / size)) ** 2))
    lamps = _softboxes(across, -slope - 0.6 * y, rng) * rng.uniform(0.3, 1)
    absorbed = 1 - np.exp(-path * rng.uniform(0.3, 2.5))
    shine = np.clip(lamps * (0.08 + fresnel) * 2 + mouth * rng.uniform(0.3, 0.9), 0, 4)
    alpha = np.clip(absorbed * 0.8 + fresnel * 0.75 + np.minimum(shine, 1) * 0.8, 0, 1)
    streaks = np.exp(0.25 * noise(size, size, 4, rng, octaves=2) + 0.4 * np.cos(across * rng.uniform(4, 14)))
    dim = tint * (0.5 * streaks * rng.uniform(0.2, 0.9))[..., None] * absorbed[..., None]
    picture = np.dstack([dim + shine[..., None] + (fresnel * rng.uniform(0.1, 0.6))[..., None], alpha])
    picture[..., :3] = np.minimum(picture[..., :3], 3 * picture[..., 3:])
    if rng.random() < 0.45:
        level = rng.uniform(top + 0.15, base - 0.1)
        liquid = (
            np.clip((y - (level - lid)) / edge, 0, 1)
            * np.clip((0.95 - np.abs(across)) / 0.02, 0, 1)
            * np.clip((base - 0.03 + lid - y) / edge, 0, 1)
        )
        depth = 1 - np.exp(-facing * rng.uniform(0.5, 6))
        juice = any_colour(rng) * (0.35 + 0.65 * np.abs(across) ** 2)[..., None]
        picture = _over(picture, _layer(juice, (liquid * depth).astype(np.float32)))
    return (picture * cover[..., None]).astype(np.float32)


def _soft(profile: np.ndarray) -> np.ndarray:
    """A profile without corners."""
    kernel = np.hanning(81)
    return np.convolve(np.pad(profile, 40, mode="edge"), kernel / kernel.sum(), mode="valid")


def _bubbles(size: int, rng: np.random.Generator) -> np.ndarray:
    """Thin films: clear middles, bright coloured rims, a window in each."""
    result = np.zeros((size, size, 4), np.float32)
    v, u = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    for _ in range(int(rng.choice([1, 2, 4, 9, 20]))):
        radius = min(rng.uniform(0.05, 0.25) * (1 + rng.pareto(2)), 0.85)
        middle = rng.uniform(-0.8, 0.8, 2) * (1 - radius * 0.8)
        x, y = (u - middle[0]) / radius, (v - middle[1]) / radius
        far = np.hypot(x, y)
        cover = np.clip((1 - far) * radius * size / 2, 0, 1)
        facing = np.sqrt(np.maximum(1 - far**2, 1e-3))
        film = (rng.uniform(2, 6) + 3 * y + 0.7 * noise(size, size, 5, rng)) / np.maximum(facing, 0.2)
        hue = 0.5 + 0.5 * np.cos(film[..., None] * np.array([1.0, 1.2, 1.45]))
        rim = (1 - facing) ** rng.uniform(1.5, 4)
        bulge = 1 + 0.6 * far**2
        lamps = _softboxes(x * bulge, -y * bulge, rng) * (rng.random() < 0.8)
        alpha = np.clip(0.03 + 0.75 * rim + 0.35 * np.minimum(lamps, 1), 0, 1) * cover
        colour = (0.4 + 0.6 * hue) * (rim + 0.1)[..., None] + lamps[..., None] * 0.45
        picture = np.dstack([np.minimum(colour * cover[..., None], 3 * alpha[..., None]), alpha]).astype(np.float32)
        result = _over(picture, result)
    return result


def _veil(size: int, rng: np.random.Generator) -> np.ndarray:
    """Thin cloth in folds, denser at a slant and in double layers."""
    unit, result = size / REFERENCE_PX, np.zeros((size, size, 4), np.float32)
    colour = np.full(3, rng.uniform(0.6, 0.95)) if rng.random() < 0.5 else any_colour(rng)
    thread, lamp = rng.uniform(0.08, 0.5), rng.uniform(-1, 1)
    for _ in range(int(rng.integers(1, 4))):
        turn, folds = rng.normal(0, 0.5), rng.uniform(3, 14)
        v, u = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
        x = u * np.cos(turn) + v * np.sin(turn) + rng.uniform(0.01, 0.07) * noise(size, size, 2, rng, octaves=2)
        ridge = np.sin(folds * x + 0.5 * noise(size, size, 1.5, rng)) + 0.4 * np.sin(
            2.7 * folds * x + rng.uniform(0, 6)
        )
        height = cv2.GaussianBlur(
            (ridge + 0.08 * noise(size, size, 6, rng, octaves=3)).astype(np.float32), (0, 0), 1.5 * unit
        )
        slope_x, slope_y = np.gradient(height, axis=1), np.gradient(height, axis=0)
        steep = rng.uniform(6, 40) / unit
        lean = 1 / np.sqrt(1 + steep**2 * (slope_x**2 + slope_y**2))
        cover = 1 - (1 - thread) ** (1 / np.maximum(lean, 0.08))
        weave = 1 + 0.12 * rng.random((size, size)) - 0.06
        if rng.random() < 0.3:
            figure = np.clip(noise(size, size, rng.uniform(8, 25), rng) * 4 - 5, 0, 1)
            cover = 1 - (1 - cover) * (1 - 0.6 * figure)
        light = 0.45 + 0.55 * np.clip(0.5 + steep * (slope_x * lamp + slope_y * 0.4) * lean, 0, 1.3)
        y, sway = v * np.cos(turn) - u * np.sin(turn), 0.06 * noise(size, size, 3, rng)
        room = np.minimum(rng.uniform(0.35, 1.3) - np.abs(x - rng.normal(0, 0.25)), rng.uniform(0, 1.5) - y) + sway
        edge = np.clip(room * size / 2, 0, 1)
        alpha = np.clip(cover * weave, 0, 1) * edge
        result = _over(_layer(colour * light[..., None], alpha), result)
    return result


CLEAR_KINDS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "smoke": _smoke,
    "spray": _spray,
    "glass": _glass,
    "bubbles": _bubbles,
    "veil": _veil,
}
