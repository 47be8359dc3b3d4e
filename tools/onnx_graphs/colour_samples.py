"""Alpha from known colours near unknown pixels, as ONNX nodes.

The steps are those of modeling/closed_form/samples.py.
"""

from modeling.closed_form import samples

from .arithmetic import Array, concat, scan

LEVELS = 20  # halvings until a side of a million pixels is one
_NEVER = 1e9  # position of a known pixel that does not exist, and a cost that is never the smallest


def sampled_alpha(image: Array, foreground: Array, background: Array) -> tuple[Array, Array]:
    """Alpha and confidence in [0, 1], 0 at known pixels.

    Args:
        image: (3, H, W) in [0, 1].
        foreground, background: (H, W) of 0 and 1.

    Returns:
        two of (H, W).
    """
    graph = image.graph
    unknown = graph.op("Reshape", (1.0 - foreground - background).name, graph.ints(-1))
    places = graph.op("Reshape", graph.op("NonZero", unknown), graph.ints(-1))  # (N,)
    pixels = _at(image, places)  # (3, N)
    alpha = contrast = 0.0 * pixels.slice([0], [1], [0]).reshape(-1)
    cost = alpha + _NEVER
    behind = _candidates(image, background, places)
    for colour, detour in _candidates(image, foreground, places):
        for other, other_detour in behind:
            difference, offset = colour - other, pixels - other
            square = (difference * difference).sum(0)
            share = ((offset * difference).sum(0) / (square + 1e-3)).at_least(0.0).at_most(1.0)
            rest = offset - share * difference
            distance = (rest * rest).sum(0).sqrt()
            found = distance / samples.COLOUR_NOISE + samples.DETOUR_COST * (detour + other_detour)
            better = found.below(cost)
            cost = found.at_most(cost)
            alpha, contrast = share.where(better, alpha), square.where(better, contrast)
    confidence = (-1.0 * cost).op("Exp") * contrast / (contrast + samples.CONTRAST)
    return tuple(_spread(values, places, foreground) for values in (alpha, confidence))


def _at(planes: Array, places: str) -> Array:
    """(C, H, W) -> (C, N)."""
    return planes.reshape(0, -1).op("Gather", places, axis=1)


def _spread(values: Array, places: str, like: Array) -> Array:
    """(N,) -> (H, W) like another array, 0 elsewhere."""
    flat = (0.0 * like).reshape(-1).op("ScatterElements", places, values.name, axis=0)
    return flat.reshape(*like.graph.sides(like.name, 0, 1))


def _candidates(image: Array, known: Array, places: str) -> list[tuple[Array, Array]]:
    """Candidate colours (3, N) and their excess distances (N) per unknown pixel.

    Args:
        image: (3, H, W).
        known: (H, W) of 0 and 1; where the colours are taken from.
        places: (N,) flat indices of the unknown pixels.
    """
    graph = image.graph
    known = known.unsqueeze(0)
    masked = image * known
    smooth = _mean(masked) / _mean(known).at_least(1e-6)
    height, width = graph.sides(image.name, 1, 2)
    farthest = Array(graph, graph.op("Cast", graph.op("Add", height, width), to=1))
    colours, distances = [], []
    for downwards in (True, False):
        for backwards in (False, True):
            colour, distance = _nearest(smooth, known, downwards, backwards)
            colours.append(_at(colour, places))
            distances.append(_at(distance, places).reshape(-1).at_most(farthest))
    nearest = distances[0]
    for distance in distances[1:]:
        nearest = nearest.at_most(distance)
    colours.append(_at(_fill(masked, known), places))
    unseen = [(0.0 * distance).where(distance.below(farthest), _NEVER) for distance in distances]
    detours = [distance / (nearest + 1.0) + none for distance, none in zip(distances, unseen, strict=True)]
    return list(zip(colours, [*detours, nearest / (nearest + 1.0)], strict=True))


def _mean(planes: Array) -> Array:
    side = samples.SMOOTHED_PX
    options = {"kernel_shape": [side] * 2, "pads": [side // 2] * 4, "count_include_pad": 0}
    return planes.unsqueeze(0).op("AveragePool", **options).op("Squeeze", planes.graph.ints(0))


def _nearest(colours: Array, known: Array, downwards: bool, backwards: bool) -> tuple[Array, Array]:
    """Colours (3, H, W) and distances of the last known pixels.

    Along one axis; the distances are (1, H, W).

    Args:
        colours: (3, H, W).
        known: (1, H, W) of 0 and 1.
        downwards: along columns of pixels; along rows otherwise.
        backwards: up, or to the left, instead.
    """
    graph = colours.graph
    turn = (1, 0, 2) if downwards else (2, 0, 1)  # the axis that is walked along first
    turned, marks = colours.transpose(*turn), known.transpose(*turn)  # (L, 3, M), (L, 1, M)
    length = graph.op("Squeeze", graph.sides(turned.name, 0)[0])
    numbers = graph.op("Range", graph.op("Squeeze", graph.ints(0)), length, graph.op("Squeeze", graph.ints(1)))
    position = Array(graph, graph.op("Cast", numbers, to=1)).unsqueeze(1, 2)  # (L, 1, 1)
    entries = concat([turned, position + 0.0 * marks], axis=1)  # (L, 4, M)
    start = Array(graph, graph.floats(0, 0, 0, _NEVER)).unsqueeze(1) + 0.0 * marks.mean(0)  # (4, M)

    def walk(last: Array, entry: Array, mark: Array) -> tuple[list[Array], list[Array]]:
        following = entry.where(graph.op("Greater", mark.name, graph.scalar(0.5)), last)
        return [following], [following.op("Identity")]

    found = scan(walk, [start], [entries, marks], backwards=backwards)[1]  # (L, 4, M)
    colour, at = found.slice([0], [3], [1]), found.slice([3], [4], [1])
    back = (1, 0, 2) if downwards else (1, 2, 0)
    return colour.transpose(*back), (position - at).op("Abs").transpose(*back)


def _fill(masked: Array, known: Array) -> Array:
    """Extend known colours over all pixels by averages of growing squares.

    Args:
        masked: (3, H, W), 0 where the colour is not known.
        known: (1, H, W) of 0 and 1.
    """
    graph = masked.graph
    levels = [concat([masked, known]).unsqueeze(0)]  # (1, 4, h, w)
    halve = {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "count_include_pad": 0}
    for _ in range(LEVELS):
        levels.append(levels[-1].op("AveragePool", **halve))
    filled = None
    for level in reversed(levels):
        sums, weights = level.slice([0], [3], [1]), level.slice([3], [4], [1])
        mean = sums / weights.at_least(1e-6)
        if filled is not None:
            doubled = graph.op(
                "Resize",
                filled.name,
                "",
                graph.floats(1, 1, 2, 2),
                mode="linear",
                coordinate_transformation_mode="half_pixel",
            )
            wider = filled.like(doubled).slice([0, 0], graph.sides(level.name, 2, 3), [2, 3])
            mean = wider + (4.0 * weights).at_most(1.0) * (mean - wider)
        filled = mean
    return filled.op("Squeeze", graph.ints(0))
