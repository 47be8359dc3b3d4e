"""Drawn foregrounds with exact alpha: hair, leaves, nets, smoke, glass, solids.

They supplement photographs of cut-out objects, which seldom offer these. Each is a function of its size, a random
generator and a texture, a photograph that lends its colours. Sizes of details follow the picture's size.
"""

from collections.abc import Callable

import cv2
import numpy as np

from data.prepare.drawing import Canvas, defocus, finished, inside, move, noise, outline
from data.products.backgrounds import covering_ratio, random_part

REFERENCE_PX = 640  # longer side at which the sizes below, in pixels, hold
MOVED, UNSHARP = 0.12, 0.25  # share of pictures that are smeared, and that are out of focus


def draw_foreground(kind: str, size: tuple[int, int], rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """A foreground of one of KINDS.

    Args:
        size: (height, width).
        texture: uint8 (h, w, 3) RGB of any size.

    Returns:
        (height, width, 4) uint8 straight RGBA.
    """
    height, width = size
    unit = max(size) / REFERENCE_PX
    part = random_part(texture, size, covering_ratio(texture, size) * rng.uniform(1, 2), rng)
    picture = KINDS[kind](height, width, unit, rng, part)
    if rng.random() < MOVED:
        picture = move(picture, rng.uniform(4, 40) * unit, rng.uniform(0, np.pi))
    if rng.random() < UNSHARP:
        picture = defocus(picture, rng.uniform(0.7, 6) * unit)
    return finished(picture)


class _Colours:
    """Colours of many small parts, from a texture or one colour's shades."""

    def __init__(self, texture: np.ndarray, rng: np.random.Generator) -> None:
        self.texture, self.rng = texture, rng
        self.base = None if rng.random() < 0.4 else _pigment(rng)
        self.spread = rng.uniform(0.05, 0.35)

    def at(self, point: np.ndarray) -> np.ndarray:
        """uint8 (3,) for a part at (x, y)."""
        height, width = self.texture.shape[:2]
        x, y = (int(np.clip(value, 0, top - 1)) for value, top in zip(point, (width, height), strict=True))
        colour = self.texture[y, x] if self.base is None else self.base
        return np.clip(colour * np.exp(self.rng.normal(0, self.spread)), 0, 255)


def _pigment(rng: np.random.Generator) -> np.ndarray:
    """Random natural colour: brown, grey, green, rarely any."""
    hue = rng.choice([rng.normal(30, 12), rng.normal(95, 20), rng.uniform(0, 360)], p=[0.5, 0.25, 0.25])
    hsv = np.array([[[hue % 360, rng.beta(1.5, 2.5), rng.beta(1.5, 1.2)]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] * 255


def _strand(start: np.ndarray, angle: float, length: float, curl: float, rng: np.random.Generator) -> np.ndarray:
    """Points (N, 2) of a curve whose direction drifts."""
    steps = 14
    turns = np.cumsum(rng.normal(0, curl, steps)) + rng.normal(0, curl * 3) * np.linspace(0, 1, steps)
    headings = angle + turns
    moves = np.stack([np.cos(headings), np.sin(headings)], axis=1) * (length / steps)
    return np.vstack([start, start + np.cumsum(moves, axis=0)])


def _tapered(canvas: Canvas, points: np.ndarray, thickness: float, colour: np.ndarray) -> None:
    """A strand that gets thinner and a little lighter towards its end."""
    third = len(points) // 3
    for part, share in enumerate((1.0, 0.75, 0.45)):
        piece = points[part * third : (part + 1) * third + 1] if part < 2 else points[2 * third :]
        canvas.curve(piece, thickness * share, np.clip(colour * (1 + 0.12 * part), 0, 255))


def _hair(height: int, width: int, unit: float, rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """Head-like shape with locks and flying strands, cut at the lower edge."""
    canvas, colours = Canvas(height, width), _Colours(texture, rng)
    centre = np.array([width * rng.uniform(0.35, 0.65), height * rng.uniform(0.55, 0.8)])
    radius = min(height, width) * rng.uniform(0.2, 0.34)
    body = outline(centre, radius, 0.12, rng)
    canvas.fill(body, texture)
    sweep, curl = rng.uniform(-0.9, 0.9), rng.uniform(0.02, 0.22)
    for _ in range(int(rng.integers(300, 1800))):
        root = body[rng.integers(len(body))] * 0.97 + centre * 0.03
        outward = np.arctan2(*(root - centre)[::-1])
        long = rng.random() < 0.3
        length = radius * (rng.uniform(0.4, 1.5) if long else rng.uniform(0.1, 0.5))
        points = _strand(root, outward + sweep + rng.normal(0, 0.35), length, curl, rng)
        _tapered(canvas, points, rng.uniform(0.3, 1.6) * unit, colours.at(root))
    return canvas.picture()


def _fur(height: int, width: int, unit: float, rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """A closed shape covered with short hairs that lean one way."""
    canvas, colours = Canvas(height, width), _Colours(texture, rng)
    centre = np.array([width, height]) * rng.uniform(0.4, 0.6, 2)
    body = outline(centre, min(height, width) * rng.uniform(0.24, 0.36), 0.22, rng)
    canvas.fill(body, texture)
    lean, length = rng.normal(0, 0.6), rng.uniform(8, 45) * unit
    for depth in (0.85, 0.93, 1.0):
        for _ in range(int(rng.integers(400, 1500))):
            root = centre + (body[rng.integers(len(body))] - centre) * (depth + rng.normal(0, 0.02))
            outward = np.arctan2(*(root - centre)[::-1])
            points = _strand(root, outward + lean + rng.normal(0, 0.4), length * rng.uniform(0.5, 1.5), 0.06, rng)
            _tapered(canvas, points, rng.uniform(0.4, 1.8) * unit, colours.at(root))
    return canvas.picture()


def _grass(height: int, width: int, unit: float, rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """Blades that grow from the lower edge."""
    canvas, colours = Canvas(height, width), _Colours(texture, rng)
    wind, blade = rng.normal(0, 0.3), rng.uniform(1.5, 9) * unit
    for _ in range(int(rng.integers(80, 500))):
        root = np.array([rng.uniform(-0.1, 1.1) * width, height * rng.uniform(0.9, 1.1)])
        length = height * rng.uniform(0.25, 0.95)
        spine = _strand(root, -np.pi / 2 + wind + rng.normal(0, 0.25), length, rng.uniform(0.02, 0.12), rng)
        _leaf(canvas, spine, blade * rng.uniform(0.5, 1.3), colours.at(root))
    return canvas.picture()


def _leaf(canvas: Canvas, spine: np.ndarray, broad: float, colour: np.ndarray) -> None:
    """A pointed shape about a spine (N, 2), broadest in its lower half."""
    along = np.gradient(spine, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(np.hypot(*along.T), 1e-6)[:, None]
    place = np.linspace(0, 1, len(spine))[:, None]
    half = across * broad / 2 * np.sin(np.pi * place**0.6) ** 0.8
    canvas.polygon(np.vstack([spine + half, (spine - half)[::-1]]), colour)
    canvas.curve(spine[: len(spine) * 2 // 3], broad / 8, np.clip(colour * 0.8, 0, 255))


def _leaves(height: int, width: int, unit: float, rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """Twigs with many leaves: the background shows through in small holes."""
    canvas, colours = Canvas(height, width), _Colours(texture, rng)
    size, bark = rng.uniform(8, 50) * unit, _pigment(rng) * 0.6
    for _ in range(int(rng.integers(6, 26))):
        root = np.array([width * rng.uniform(0.3, 0.7), height * rng.uniform(0.6, 1.05)])
        twig = _strand(root, rng.uniform(-np.pi, 0), height * rng.uniform(0.3, 0.8), 0.12, rng)
        _tapered(canvas, twig, rng.uniform(1, 7) * unit, bark)
        for _ in range(int(rng.integers(10, 60))):
            place = twig[rng.integers(3, len(twig))] + rng.normal(0, size * 0.3, 2)
            spine = _strand(place, rng.uniform(-np.pi, np.pi), size * rng.uniform(0.5, 1.4), 0.05, rng)
            _leaf(canvas, spine, size * rng.uniform(0.2, 0.6), colours.at(place))
    return canvas.picture()


def _net(height: int, width: int, unit: float, rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """Two or three families of crossing threads on bent cloth."""
    canvas, colours = Canvas(height, width), _Colours(texture, rng)
    pitch, side = rng.uniform(7, 48) * unit, float(np.hypot(height, width))
    thread = min(rng.uniform(0.5, 4.5) * unit, pitch / 3)
    bend = noise(height, width, 3, rng) * rng.uniform(0, 10) * unit
    turn, families = rng.uniform(0, np.pi), int(rng.choice([1, 2, 2, 3]))
    along = np.linspace(-side / 2, side / 2, 60)
    for family in range(families):
        angle = turn + family * np.pi / families + rng.normal(0, 0.05)
        direction, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        colour = colours.at(rng.random(2) * (width, height))
        for offset in np.arange(-side / 2, side / 2, pitch):
            points = np.array([width, height]) / 2 + offset * across + along[:, None] * direction
            canvas.curve(points + _at(bend, points)[:, None] * across, thread, colour)
    return _bounded(canvas.picture(), rng)


def _lace(height: int, width: int, unit: float, rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """Rows of loops, circles and dots on a fine ground."""
    canvas, colours = Canvas(height, width), _Colours(texture, rng)
    colour, pitch = colours.at(rng.random(2) * (width, height)), rng.uniform(14, 60) * unit
    thread = min(rng.uniform(0.5, 2.5) * unit, pitch / 8)
    angle = np.linspace(0, 2 * np.pi, 40)
    shift_x, shift_y = (noise(height, width, 3, rng) * rng.uniform(0, 8) * unit for _ in range(2))
    petals, depth, fine = int(rng.integers(3, 8)), rng.uniform(0, 0.6), rng.random() < 0.6
    for row, y in enumerate(np.arange(-pitch, height + pitch, pitch * 0.87)):
        for x in np.arange(-pitch, width + pitch, pitch) + (row % 2) * pitch / 2:
            reach = pitch * 0.52 * (1 + depth * np.cos(petals * angle)) / (1 + depth)
            loop = np.array([x, y]) + np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)
            bent = loop + np.stack([_at(shift_x, loop), _at(shift_y, loop)], axis=1)
            canvas.curve(bent, thread, colour)
            canvas.polygon((bent - bent.mean(0)) * 0.3 + bent.mean(0), np.clip(colour * 0.93, 0, 255))
            if fine:
                canvas.curve(bent[::5].reshape(-1, 2)[[0, 4, 1, 5, 2, 6, 3, 7]], thread / 2, colour)
    return _bounded(canvas.picture(), rng)


def _at(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values (N,) of a field (H, W) at the pixels nearest to points (N, 2)."""
    x, y = np.rint(points).astype(int).T
    return field[np.clip(y, 0, field.shape[0] - 1), np.clip(x, 0, field.shape[1] - 1)]


def _bounded(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture cut to a random shape, or left as it is."""
    height, width = picture.shape[:2]
    if rng.random() < 0.3:
        return picture
    centre = np.array([width, height]) * rng.uniform(0.4, 0.6, 2)
    return picture * inside(height, width, outline(centre, min(height, width) * 0.42, 0.15, rng))[..., None]


def _smoke(height: int, width: int, unit: float, rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """Clouds: an alpha without edges, nearly one colour."""
    cloud = noise(height, width, rng.uniform(2, 6), rng, octaves=6)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    envelope = np.clip(1.6 - 1.8 * np.hypot(x, y) + 0.3 * noise(height, width, 3, rng), 0, 1)
    alpha = envelope * np.clip(0.5 + rng.uniform(0.25, 0.6) * cloud, 0, 1) ** rng.uniform(0.8, 1.8)
    alpha = np.clip(alpha * rng.uniform(0.6, 1.3), 0, 1).astype(np.float32)
    shade = np.exp(0.12 * noise(height, width, 4, rng, octaves=3))[..., None]
    tint = rng.choice([np.full(3, rng.uniform(120, 250)), _pigment(rng)]) / 255
    return _premultiplied(np.clip(tint * shade, 0, 1), alpha)


def _glass(height: int, width: int, unit: float, rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """A see-through body, denser at its rim, with highlights."""
    centre = np.array([width, height]) * rng.uniform(0.42, 0.58, 2)
    body = outline(centre, min(height, width) * rng.uniform(0.25, 0.38), 0.12, rng)
    cover = inside(height, width, body)
    depth = cv2.distanceTransform((cover > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    rim = np.exp(-depth / (rng.uniform(2, 16) * unit)) * rng.uniform(0.3, 0.9)
    streaks = np.clip(noise(height, width, rng.uniform(3, 10), rng, octaves=2) - 1.2, 0, 1) * rng.uniform(0, 1)
    alpha = cover * np.clip(rng.uniform(0.03, 0.4) + rim + streaks, 0, 1)
    tint = _pigment(rng) / 255 * np.exp(0.1 * noise(height, width, 4, rng))[..., None]
    light = np.clip(streaks[..., None] * 2 + rng.uniform(0, 0.5), 0, 1)
    return _premultiplied(np.clip(tint * (1 - light) + light, 0, 1), alpha.astype(np.float32))


def _solid(height: int, width: int, unit: float, rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """An opaque shape with sharp edges, photographed texture and sometimes holes."""
    canvas = Canvas(height, width)
    centre = np.array([width, height]) * rng.uniform(0.4, 0.6, 2)
    radius = min(height, width) * rng.uniform(0.25, 0.42)
    canvas.fill(outline(centre, radius, rng.uniform(0.05, 0.4), rng), texture)
    picture = canvas.picture()
    for _ in range(int(rng.choice([0, 0, 1, 2, 6]))):
        hole = outline(centre + rng.normal(0, radius * 0.4, 2), radius * rng.uniform(0.05, 0.25), 0.2, rng)
        picture = picture * (1 - inside(height, width, hole))[..., None]
    return picture


def _torn(height: int, width: int, unit: float, rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """Thresholded noise: frayed islands and holes, with soft or hard edges."""
    field = noise(height, width, rng.uniform(3, 12), rng, octaves=int(rng.integers(3, 7)))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    field += rng.uniform(0.8, 2.2) * (1 - 2 * np.hypot(x, y))
    alpha = np.clip(0.5 + field * rng.uniform(1, 12), 0, 1).astype(np.float32)
    return _premultiplied(texture.astype(np.float32) / 255, alpha)


def _premultiplied(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.dstack([colour * alpha[..., None], alpha]).astype(np.float32)


Draw = Callable[[int, int, float, np.random.Generator, np.ndarray], np.ndarray]
KINDS: dict[str, Draw] = {
    "hair": _hair,
    "fur": _fur,
    "grass": _grass,
    "leaves": _leaves,
    "net": _net,
    "lace": _lace,
    "smoke": _smoke,
    "glass": _glass,
    "solid": _solid,
    "torn": _torn,
}
