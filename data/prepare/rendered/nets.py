"""Recipes of nets, knitwear, lace, baskets, fences, wheels and yarn."""

from collections.abc import Callable

import numpy as np

from data.prepare.rendered.colours import any_colour, hair_colour
from data.prepare.rendered.growth import Growth, grow, smooth_field
from data.prepare.rendered.scene import Object, Recipe, Strands, smoothed, unit

Sheet = Callable[[np.ndarray], np.ndarray]
METALS = ((0.55, 0.56, 0.58), (0.12, 0.12, 0.13), (0.3, 0.18, 0.1), (0.6, 0.5, 0.25), (0.03, 0.03, 0.03))
WOODS = ((0.5, 0.33, 0.17), (0.3, 0.17, 0.08), (0.62, 0.47, 0.28), (0.35, 0.31, 0.27), (0.75, 0.73, 0.7))


def _sheet(rng: np.random.Generator, stiff: bool) -> Sheet:
    """Map of flat points (..., 2) onto bent cloth, with folds unless stiff."""
    bend, fine = smooth_field(rng, 2.5), smooth_field(rng, 0.5)
    height, crease = rng.uniform(0, 0.12 if stiff else 0.5), 0 if stiff else rng.uniform(0, 0.1)
    folds, phase = rng.uniform(2, 9), rng.uniform(0, 6)
    depth = 0 if stiff else rng.choice([0, 1]) * rng.uniform(0.05, 0.25)

    def place(flat: np.ndarray) -> np.ndarray:
        points = np.stack([flat[..., 0], np.zeros(flat.shape[:-1]), flat[..., 1]], axis=-1)
        moved = bend(points) * (height * 0.3, height, height * 0.3) + fine(points) * crease
        moved[..., 1] += depth * np.sin(folds * flat[..., 0] + phase + 0.6 * flat[..., 1])
        return points + moved

    return place


def _thread(rng: np.random.Generator) -> np.ndarray:
    """Mostly white, black or natural."""
    pick = rng.random()
    if pick < 0.35:
        return np.full(3, rng.uniform(0.6, 0.9)) * (1, 0.98, 0.93)
    return np.full(3, rng.uniform(0.01, 0.06)) if pick < 0.55 else any_colour(rng)


def _tubes(
    points: np.ndarray, radius: float, colour: np.ndarray, rng: np.random.Generator, gloss: float = 0.5
) -> Strands:
    """Round bars or threads of nearly one colour."""
    shade = np.exp(rng.normal(0, 0.08, (*points.shape[:2], 1))) * np.exp(smooth_field(rng, 0.7)(points)[..., :1] * 0.12)
    thick = np.full(points.shape[:2], radius) * np.exp(rng.normal(0, 0.04, (len(points), 1)))
    return Strands(
        points=points.astype(np.float32),
        radius=thick.astype(np.float32),
        colour=np.clip(colour * shade, 0.003, 0.93).astype(np.float32),
        roughness=gloss,
        surface="tube",
    )


def _plied(points: np.ndarray, radius: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Plies that wind about threads (N, P, 3), and their radius."""
    plies, points = int(rng.choice([2, 3, 4, 7])), smoothed(points.astype(np.float32), points.shape[1] * 2)
    along = unit(np.gradient(points, axis=1))
    first = unit(np.cross(along, np.array([0.31, -0.87, 0.38])))
    second = np.cross(along, first)
    way = np.cumsum(np.linalg.norm(np.diff(points, axis=1, prepend=points[:, :1]), axis=-1), axis=1)
    turn = way / radius * rng.uniform(0.25, 0.6)
    own = radius * {2: 0.55, 3: 0.5, 4: 0.45, 7: 0.36}[plies]
    wound = []
    for ply in range(plies):
        angle = (turn + 2 * np.pi * ply / plies)[..., None]
        wound.append(points + (radius - own) * (np.cos(angle) * first + np.sin(angle) * second))
    return np.concatenate(wound), own


def _fuzz(points: np.ndarray, colour: np.ndarray, amount: int, rng: np.random.Generator) -> Strands:
    """Short fibres that stand off from threads."""
    flat = points.reshape(-1, 3)
    roots = flat[rng.integers(len(flat), size=amount)]
    first = unit(rng.normal(size=roots.shape))
    hairs = grow(
        roots,
        first,
        Growth(length=rng.uniform(0.05, 0.22), length_spread=0.5, points=14, gravity=0.5, scatter=0.3, frizz=0.5),
        [],
        rng,
    )
    shade = np.broadcast_to(colour, hairs.shape).astype(np.float32)
    return Strands(hairs, np.full(hairs.shape[:2], rng.uniform(0.0005, 0.0011), np.float32), shade, 0.4)


def _net(rng: np.random.Generator) -> Object:
    """Two families of crossing threads: fishing nets, tulle, gauze, grids."""
    sheet, pitch = _sheet(rng, stiff=False), np.exp(rng.uniform(np.log(0.035), np.log(0.3)))
    radius, colour = pitch * rng.uniform(0.03, 0.14), _thread(rng)
    side, steps = rng.choice([1.1, 2.2]), int(np.clip(3.2 / pitch * 2.5, 24, 180))
    offsets, along = np.arange(-side, side, pitch), np.linspace(-side, side, steps)
    turn, lean, sag = (
        rng.uniform(0, np.pi),
        rng.uniform(0.9, 1.6),
        rng.choice([0, 0.1, 0.3]) * rng.uniform(0.3, 1) * pitch,
    )
    parts = []
    for angle in (turn, turn + lean):
        direction, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        flat = offsets[:, None, None] * across + along[None, :, None] * direction
        flat = (
            flat
            + sag * smooth_field(rng, rng.uniform(2, 8) * pitch)(np.dstack([flat, np.zeros(flat.shape[:2])]))[..., :2]
        )
        if side < 2:
            flat = flat[np.abs(flat).max(axis=(1, 2)) < 9]
        parts.append(sheet(flat) + radius * np.array([0, 1, 0]) * (1 if angle == turn else -1))
    points = np.concatenate(parts)
    strands = [_tubes(points, radius, colour, rng, rng.uniform(0.3, 0.8))]
    if rng.random() < 0.4:
        strands.append(_fuzz(points, colour, int(rng.uniform(1000, 8000)), rng))
    return strands, []


def _knit(rng: np.random.Generator) -> Object:
    """Loops of wool or wire, row in row."""
    sheet, pitch = _sheet(rng, stiff=False), np.exp(rng.uniform(np.log(0.07), np.log(0.3)))
    rows, columns = int(2.6 / pitch / 0.9), int(2.6 / pitch)
    turn = np.linspace(0, 2 * np.pi * columns, columns * 14 + 1)
    radius, height = pitch * rng.uniform(0.05, 0.2), rng.uniform(0.7, 1.0)
    x = turn / (2 * np.pi) + 0.22 * np.sin(2 * turn)
    z, depth = -0.5 * height * 1.3 * np.cos(turn), 0.18 * np.cos(2 * turn)
    flat = np.stack([np.tile(x, (rows, 1)), z + np.arange(rows)[:, None] * 0.9 * height], axis=-1) * pitch
    flat += (
        pitch
        * rng.uniform(0, 0.15)
        * smooth_field(rng, 3 * pitch)(np.dstack([flat, np.zeros(flat.shape[:2])]))[..., :2]
    )
    points = sheet(flat - flat.reshape(-1, 2).mean(axis=0))
    points[..., 1] += depth * pitch * 1.2
    pieces = points[:, : (points.shape[1] - 1) // 56 * 56 + 1]
    cut = np.stack([pieces[:, start : start + 57] for start in range(0, pieces.shape[1] - 1, 56)], axis=1)
    cut = cut.reshape(-1, 57, 3) if cut.size else points
    colour = _thread(rng)
    strands = [_tubes(*_plied(cut, radius, rng), colour, rng, 0.8)]
    if rng.random() < 0.7:
        strands.append(_fuzz(cut, colour, int(rng.uniform(3000, 16000)), rng))
    return strands, []


def _lace(rng: np.random.Generator) -> Object:
    """Rosettes, scallops and dots of thread on a fine ground."""
    sheet, pitch, colour = _sheet(rng, stiff=False), rng.uniform(0.14, 0.5), _thread(rng)
    fine, steps = pitch * rng.uniform(0.01, 0.025), 120
    angle, petals = np.linspace(0, 2 * np.pi, steps), int(rng.integers(4, 9))
    depth, spiral = rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.5)
    shapes = [
        0.5 * (1 + depth * np.cos(petals * angle)) / (1 + depth),
        0.5 * spiral * (1 + 0.3 * np.cos(petals * angle)),
    ]
    shapes += [np.full(steps, 0.51), np.full(steps, 0.12)][: int(rng.integers(0, 3))]
    rows = []
    for row, z in enumerate(np.arange(-1.2, 1.2, pitch * 0.87)):
        for x in np.arange(-1.3, 1.3, pitch) + (row % 2) * pitch / 2:
            for reach in shapes:
                ring = np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=-1)
                rows.append(ring * pitch + (x, z))
            for spoke in np.arange(petals) * 2 * np.pi / petals:
                end = np.array([np.cos(spoke), np.sin(spoke)])
                rows.append((x, z) + end * np.linspace(0.1, 0.5, steps)[:, None] * pitch)
    thick = sheet(np.stack(rows))
    strands = [_tubes(thick, fine * rng.uniform(1.2, 2.5), colour, rng, 0.7)]
    if rng.random() < 0.7:
        mesh = pitch * rng.uniform(0.08, 0.2)
        offsets, along = np.arange(-1.25, 1.25, mesh), np.linspace(-1.25, 1.25, 60)
        first = np.stack(np.meshgrid(along, offsets), axis=-1)
        ground = np.concatenate(
            [first @ np.array([[0.7, 0.7], [-0.7, 0.7]]), first @ np.array([[0.7, -0.7], [0.7, 0.7]])]
        )
        strands.append(_tubes(sheet(ground), fine * 0.6, colour, rng, 0.7))
    return strands, []


def _basket(rng: np.random.Generator) -> Object:
    """Withies about stakes, over and under, on a round or flat form."""
    count, radius = int(rng.integers(14, 60)) // 2 * 2 + 1, rng.uniform(0.012, 0.03)
    gap, tall = radius * rng.uniform(2.2, 7), rng.uniform(0.7, 1.5)
    belly, flat = rng.uniform(-0.3, 0.5), rng.random() < 0.3
    turn, level = np.linspace(0, 2 * np.pi, 6 * count), np.arange(0, tall, gap)
    wood = np.array(WOODS[rng.integers(len(WOODS))])

    def place(angle: np.ndarray, z: np.ndarray, out: np.ndarray) -> np.ndarray:
        reach = 0.8 + belly * np.sin(np.pi * z / tall) + out
        if flat:
            return np.stack([(angle - np.pi) * 0.45, -out, z - tall / 2], axis=-1)
        return np.stack([reach * np.cos(angle), reach * np.sin(angle), z - tall / 2], axis=-1)

    sign = np.where(np.arange(len(level)) % 2, 1, -1)[:, None]
    waves = sign * np.cos(turn * count / 2) * radius * 1.3
    wobble = rng.normal(0, 0.15, waves.shape) * radius
    rings = place(np.tile(turn, (len(level), 1)), level[:, None] + wobble, waves)
    stakes = np.repeat(np.arange(count)[:, None] * 2 * np.pi / count, 12, axis=1)
    heights = np.tile(np.linspace(-0.02, tall + rng.uniform(0, 0.1), 12), (count, 1))
    bars = place(stakes, heights, np.zeros_like(heights))
    strands = [
        _tubes(rings, radius, wood, rng, 0.5),
        _tubes(bars, radius * rng.uniform(0.9, 1.5), wood * 0.8, rng, 0.5),
    ]
    if rng.random() < 0.6 and not flat:
        arc = np.linspace(0, np.pi, 60)
        loop = np.stack([0.85 * np.cos(arc), np.zeros(60), tall / 2 + rng.uniform(0.5, 1) * np.sin(arc)], axis=-1)
        twist = np.stack(
            [loop + 0.02 * np.stack([np.sin(arc * 30 + k), np.cos(arc * 30 + k), 0 * arc], -1) for k in (0, 2, 4)]
        )
        strands.append(_tubes(twist, radius, wood, rng, 0.5))
    return strands, []


def _fence(rng: np.random.Generator) -> Object:
    """Chain link, welded mesh, railings, or barbed wire."""
    style, metal = rng.choice(["chain", "mesh", "rail", "barbed"]), np.array(METALS[rng.integers(len(METALS))])
    if rng.random() < 0.2:
        metal = any_colour(rng)
    pitch = rng.uniform(0.12, 0.5)
    radius, gloss = pitch * rng.uniform(0.015, 0.06), rng.uniform(0.15, 0.5)
    sheet = _sheet(rng, stiff=True)
    if style == "chain":
        steps = np.arange(0, int(3.4 / pitch) * 2 + 1, 0.125)
        saw = np.abs((steps % 2) - 1)
        wires = []
        for index in range(int(3.4 / pitch)):
            x = (index + (saw if index % 2 else 1 - saw)) * pitch - 1.7
            wires.append(np.stack([x, steps * pitch / 2 - 1.7], axis=-1))
        points = sheet(np.stack(wires))
        points[..., 1] += 1.5 * radius * np.cos(np.pi * steps) * np.where(np.arange(len(wires)) % 2, 1, -1)[:, None]
        points += rng.normal(0, 0.1 * radius, (len(points), 1, 3))
    elif style == "mesh":
        line = np.linspace(-1.7, 1.7, 50)
        offsets = np.arange(-1.7, 1.7, pitch)
        first = np.stack(np.meshgrid(line, offsets), axis=-1)
        second = np.stack(np.meshgrid(line, np.arange(-1.7, 1.7, pitch * rng.uniform(0.5, 2))), axis=-1)[..., ::-1]
        points = np.concatenate([sheet(first), sheet(second) + np.array([0, radius, 0])])
    elif style == "rail":
        line, radius = np.linspace(-1, 1, 30), pitch * rng.uniform(0.08, 0.25)
        upright = np.stack(np.meshgrid(line * rng.uniform(0.7, 1.7), np.arange(-1.7, 1.7, pitch * 1.4)), axis=-1)[
            ..., ::-1
        ]
        cross = np.stack(np.meshgrid(line * 1.8, rng.uniform(-0.8, 0.8, int(rng.integers(2, 4)))), axis=-1)
        points = np.concatenate([sheet(upright), sheet(cross)])
        metal = metal if rng.random() < 0.5 else np.array(WOODS[rng.integers(len(WOODS))])
    else:
        return _barbed(metal, rng), []
    strands = [_tubes(points, radius, metal, rng, gloss)]
    if rng.random() < 0.4:
        post = np.array(
            [[[x, 0.08, z] for z in np.linspace(-2, 2, 40)] for x in rng.uniform(-1.2, 1.2, int(rng.integers(1, 3)))]
        )
        strands.append(_tubes(post, rng.uniform(0.03, 0.1), metal * 0.9, rng, gloss))
    return strands, []


def _barbed(metal: np.ndarray, rng: np.random.Generator) -> list[Strands]:
    """Twisted pairs of wires with barbs."""
    line, radius = np.linspace(-3, 3, 400), rng.uniform(0.008, 0.02)
    wires, barbs = [], []
    for _ in range(int(rng.integers(1, 6))):
        height, slope, sag = rng.uniform(-1, 1), rng.uniform(-0.2, 0.2), rng.uniform(0, 0.15)
        for phase in (0, np.pi):
            turn = line * 40 + phase
            z = height + slope * line + sag * line**2 + radius * np.sin(turn)
            wires.append(np.stack([line, radius * np.cos(turn), z], axis=-1))
        for x in np.arange(-2.9, 2.9, rng.uniform(0.2, 0.45)):
            arc = np.linspace(-1, 1, 100)
            ends = unit(rng.normal(size=3) * (0.6, 1, 1)) * 0.085
            coil = 1.8 * radius * np.stack([0.5 * arc, np.cos(arc * 9), np.sin(arc * 9)], axis=-1)
            barb = (
                np.array([x, 0, height + slope * x + sag * x**2])
                + coil
                + ends * (np.clip(np.abs(arc) - 0.8, 0, 1) * 5 * np.sign(arc))[:, None]
            )
            barbs.append(barb)
    return [_tubes(np.stack(wires), radius, metal, rng, 0.4), _tubes(np.stack(barbs), radius * 0.8, metal, rng, 0.4)]


def _spokes(rng: np.random.Generator) -> Object:
    """One or two bicycle wheels, with bars of a frame in some."""
    metal, strands = np.array(METALS[0]) * rng.uniform(0.4, 1.3), []
    for centre in ([0, 0, 0],) if rng.random() < 0.6 else ([-0.95, 0, 0], [0.95, 0.05, 0]):
        count, hub = int(rng.choice([20, 24, 28, 32, 36])), rng.uniform(0.04, 0.08)
        index = np.arange(count)
        rim, start = (
            index * 2 * np.pi / count,
            index * 2 * np.pi / count + np.where(index % 4 < 2, 1, -1) * rng.uniform(0.6, 1.3),
        )
        side = np.where(index % 2, 1, -1) * 0.06
        first = np.stack([hub * np.cos(start), side, hub * np.sin(start)], axis=-1)
        last = np.stack([0.84 * np.cos(rim), 0 * rim, 0.84 * np.sin(rim)], axis=-1)
        wires = first[:, None] + (last - first)[:, None] * np.linspace(0, 1, 12)[None, :, None]
        strands.append(_tubes(wires + centre, rng.uniform(0.003, 0.008), metal, rng, 0.2))
        turn = np.linspace(0, 2 * np.pi, 160)
        ring = np.stack([np.cos(turn), 0 * turn, np.sin(turn)], axis=-1)[None]
        strands.append(_tubes(ring * 0.87 + centre, 0.022, metal, rng, 0.25))
        strands.append(_tubes(ring * 0.92 + centre, rng.uniform(0.025, 0.06), np.full(3, 0.02), rng, 0.6))
        axle = np.array(centre) + np.linspace(-1, 1, 12)[None, :, None] * np.array([0, 0.1, 0])
        strands.append(_tubes(axle, hub * 0.8, metal, rng, 0.25))
    if rng.random() < 0.6:
        ends = rng.uniform(-0.9, 0.9, (int(rng.integers(2, 6)), 2, 3)) * (1, 0.1, 0.9) + (0, -0.1, 0.5)
        bars = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * np.linspace(0, 1, 20)[None, :, None]
        strands.append(_tubes(bars, rng.uniform(0.025, 0.05), any_colour(rng), rng, 0.2))
    return strands, []


def _yarn(rng: np.random.Generator) -> Object:
    """Tangled or coiled cord, wire or rope, frayed."""
    count, steps = int(rng.integers(2, 30)), 120
    place = np.cumsum(rng.normal(size=(count, steps, 3)), axis=1)
    for _ in range(rng.integers(10, 60)):
        place[:, 1:-1] = (place[:, :-2] + 2 * place[:, 1:-1] + place[:, 2:]) / 4
    place = (place - place.mean(axis=1, keepdims=True)) / np.abs(place).max() * 1.6
    colour, radius = _thread(rng), rng.uniform(0.005, 0.03)
    if rng.random() < 0.6:
        strands = [_tubes(*_plied(place, radius, rng), colour, rng, rng.uniform(0.4, 0.8))]
    else:
        strands = [_tubes(place, radius, colour, rng, rng.uniform(0.2, 0.6))]
    strands.append(_fuzz(place, hair_colour(rng) if rng.random() < 0.2 else colour, int(rng.uniform(2000, 20000)), rng))
    return strands, []


NET_KINDS: dict[str, Recipe] = {
    "net": _net,
    "knit": _knit,
    "lace": _lace,
    "basket": _basket,
    "fence": _fence,
    "spokes": _spokes,
    "yarn": _yarn,
}
