"""Closed-form matting as ONNX nodes, for one picture of any size.

The system is that of modeling/closed_form/.
"""

import numpy as np

from modeling.closed_form.cells import SIDE
from modeling.closed_form.corrections import GRIDS, HAT_STIFFNESS
from modeling.closed_form.laplacian import EPSILON, NEIGHBOURS
from modeling.closed_form.solver import BORDER_STIFFNESS, SAMPLE_WEIGHT, STEPS

from .arithmetic import Array, concat, scan, stack
from .colour_samples import sampled_alpha
from .graph import Graph

STRIP_ROWS = 64  # rows of windows whose coefficients are computed at a time
_TINY = 1e-20
_WINDOW = [(dy, dx) for dy in range(3) for dx in range(3)]
_PAIRS = [(first, second) for first in range(4) for second in range(first, 4)]  # of a symmetric 4 x 4 matrix


def write_solver(graph: Graph, image_name: str, trimap_name: str) -> str:
    """Nodes from a picture to its closed-form alpha.

    Args:
        graph: where the nodes go.
        image_name: (1, 3, H, W) float32 RGB in [0, 1].
        trimap_name: (1, 1, H, W) float32 of 0 and 1 where alpha is known, other values elsewhere; some pixel must be
            unknown.

    Returns:
        name of (1, 1, H, W) float32 in [0, 1].
    """
    image, trimap = (Array(graph, name) for name in (image_name, trimap_name))
    height, width = graph.sides(trimap_name, 2, 3)
    image, trimap = image.reshape(3, height, width), trimap.reshape(height, width)
    foreground = _mark(graph, graph.op("Equal", trimap.name, graph.scalar(1.0)))  # (H, W) of 0 and 1
    background = _mark(graph, graph.op("Equal", trimap.name, graph.scalar(0.0)))
    mask = 1.0 - foreground - background
    stencil = matting_laplacian(image, height, width)
    right = -1.0 * multiply(stencil, foreground) * mask
    border = (multiply(stencil, mask) * mask).at_least(0.0)
    sampled, confidence = sampled_alpha(image, foreground, background)
    hold = SAMPLE_WEIGHT * confidence * confidence
    stencil[0, 0] = stencil[0, 0] + hold
    right = right + hold * sampled
    corrections = _Corrections(image, mask, BORDER_STIFFNESS * border + hold)
    solution = _conjugate_gradients(stencil, right, mask, corrections).at_least(0.0).at_most(1.0)
    solvable = foreground.op("ReduceMax", keepdims=0) * background.op("ReduceMax", keepdims=0)  # 0 or 1
    solution = solvable * solution + (1.0 - solvable) * 0.5
    return (mask * solution + foreground).unsqueeze(0, 1).name


def _mark(graph: Graph, condition: str) -> Array:
    return Array(graph, graph.op("Cast", condition, to=1))


def _conjugate_gradients(stencil: dict, right: Array, mask: Array, corrections: "_Corrections") -> Array:
    """Solution (H, W) of the system after the fixed number of steps."""
    graph = right.graph
    inverse = mask / stencil[0, 0].at_least(1e-6)
    nothing = 0.0 * mask
    one = Array(graph, graph.constant(np.ones((1, 1), np.float32)))
    steps = Array(graph, graph.constant(np.zeros(STEPS, np.float32)))

    def step(solution: Array, residual: Array, direction: Array, energy: Array, _: Array) -> tuple[list[Array], list]:
        preconditioned = inverse * residual + corrections(residual)
        following = (residual * preconditioned).sum(0, 1, keepdims=True)  # (1, 1)
        direction = preconditioned + following / energy.at_least(_TINY) * direction
        product = multiply(stencil, direction) * mask
        curvature = (direction * product).sum(0, 1, keepdims=True)
        enough = graph.op("Greater", curvature.name, graph.scalar(_TINY))
        length = (following / curvature.at_least(_TINY)).where(enough, 0.0)
        return [solution + length * direction, residual - length * product, direction, following], []

    return scan(step, [nothing, right, nothing, one], [steps])[0]


def matting_laplacian(image: Array, height: str, width: str) -> dict[tuple[int, int], Array]:
    """Coefficients of the matting Laplacian.

    Args:
        image: (3, H, W) in [0, 1].
        height, width: names of its sides.

    Returns:
        By offset (dy, dx) from a pixel to its 24 neighbours and itself, the coefficients (H, W).
    """
    graph = image.graph
    two, three = graph.ints(2), graph.ints(3)
    rows, cols = (graph.op("Max", side, three) for side in (height, width))
    missing = graph.op("Sub", rows, height), graph.op("Sub", cols, width)
    padded = image.pad([0, 0, 0], [0, *missing])
    inner_rows, inner_cols = graph.op("Sub", rows, two), graph.op("Sub", cols, two)
    strips = padded.op("Gather", _strip_rows(graph, rows, inner_rows), axis=1).transpose(1, 0, 2, 3)

    def coefficients(strip: Array) -> tuple[list, list[Array]]:
        return [], [stack(_window_sums(strip, inner_cols, cols))]

    sums = scan(coefficients, [], [strips])[0]  # (strips, planes and tops, STRIP_ROWS, W)
    keys = _planes_and_tops()
    sums = sums.transpose(1, 0, 2, 3).reshape(len(keys), -1, cols).slice([0], [inner_rows], [1])
    large = graph.op("And", *(graph.op("Equal", side, graph.ints(0)) for side in missing))
    gate = _mark(graph, large)  # pictures without a whole window have no coefficients
    stencil: dict[tuple[int, int], Array] = {}
    for (offset, top), part in zip(keys, sums.split(len(keys)), strict=True):
        part = part.pad([top, 0], [2 - top, 0])
        stencil[offset] = stencil[offset] + part if offset in stencil else part
    for offset in list(stencil):
        values = stencil[offset] = (gate * stencil[offset]).slice([0, 0], [height, width], [0, 1])
        if offset != (0, 0):  # the matrix is symmetric
            stencil[-offset[0], -offset[1]] = _shifted(_framed(values), -offset[0], -offset[1], height, width)
    return stencil


def _strip_rows(graph: Graph, rows: str, inner_rows: str) -> str:
    """Row indices (strips, STRIP_ROWS + 2), repeating the last row at the end."""
    count = graph.op("Div", graph.op("Add", inner_rows, graph.ints(STRIP_ROWS - 1)), graph.ints(STRIP_ROWS))
    numbers = graph.op("Range", *(graph.op("Squeeze", part) for part in (graph.ints(0), count, graph.ints(1))))
    starts = graph.op("Unsqueeze", graph.op("Mul", numbers, graph.ints(STRIP_ROWS)), graph.ints(1))
    indices = graph.op("Add", starts, graph.ints(*range(STRIP_ROWS + 2)))
    return graph.op("Min", indices, graph.op("Sub", rows, graph.ints(1)))


def _planes_and_tops() -> list[tuple[tuple[int, int], int]]:
    """Neighbours after a pixel, and the window rows of such pairs."""
    return [(offset, top) for offset in ((0, 0), *NEIGHBOURS) for top in range(3 - offset[0])]


def _window_sums(strip: Array, inner_cols: str, cols: str) -> list[Array]:
    """Coefficients of the windows in a strip, one (STRIP_ROWS, W) per entry of `_planes_and_tops`.

    Args:
        strip: (3, STRIP_ROWS + 2, W).
    """
    graph = strip.graph
    last = [graph.op("Add", inner_cols, graph.ints(left)) for left in range(3)]
    pixels = [strip.slice([top, left], [top + STRIP_ROWS, last[left]], [1, 2]) for top, left in _WINDOW]
    whitened = _whitened(stack(pixels).cast(np.float64)).split(9)  # nine of (3, STRIP_ROWS, W - 2)
    found: dict[tuple, Array] = {}
    for first, (top, left) in enumerate(_WINDOW):
        for second, (other_top, other_left) in enumerate(_WINDOW[first:], first):
            share = ((whitened[first] * whitened[second]).sum(0) + 1.0) * (-1 / 9)
            if first == second:
                share = share + 1.0
            share = share.pad([0, left], [0, 2 - left])
            key = (other_top - top, other_left - left), top
            found[key] = found[key] + share if key in found else share
    return [found[key] for key in _planes_and_tops()]


def _whitened(pixels: Array) -> Array:
    """Nine colours per window, without their mean, over the covariance's root.

    Args:
        pixels: (9, 3, rows, cols) float64.

    Returns:
        the same in float32.
    """
    noise = EPSILON / 9
    centred = pixels - pixels.mean(0)
    red, green, blue = centred.transpose(1, 0, 2, 3).split(3)  # (9, rows, cols)
    root_rr = ((red * red).mean(0) + noise).sqrt()
    root_gr, root_br = (red * green).mean(0) / root_rr, (red * blue).mean(0) / root_rr
    root_gg = ((green * green).mean(0) + noise - root_gr * root_gr).at_least(noise / 2).sqrt()
    root_bg = ((green * blue).mean(0) - root_gr * root_br) / root_gg
    root_bb = (blue * blue).mean(0) + noise - root_br * root_br - root_bg * root_bg
    red = red / root_rr
    green = (green - root_gr * red) / root_gg
    blue = (blue - root_br * red - root_bg * green) / root_bb.at_least(noise / 2).sqrt()
    return stack([colour.cast(np.float32) for colour in (red, green, blue)], axis=1)


def _framed(values: Array) -> Array:
    """(H, W) with two pixels of zeros around it."""
    return values.pad([2, 2], [2, 2])


def _shifted(framed: Array, dy: int, dx: int, height: str, width: str) -> Array:
    """(H, W): the value at an offset from each pixel, 0 beyond the picture."""
    graph = framed.graph
    bottom, right = graph.op("Add", height, graph.ints(2 + dy)), graph.op("Add", width, graph.ints(2 + dx))
    return framed.slice([2 + dy, 2 + dx], [bottom, right], [0, 1])


def multiply(stencil: dict[tuple[int, int], Array], values: Array) -> Array:
    """Product of the matrix and the vector (H, W)."""
    height, width = values.graph.sides(values.name, 0, 1)
    framed = _framed(values)
    product = stencil[0, 0] * values
    for (dy, dx), weights in stencil.items():
        if (dy, dx) != (0, 0):
            product = product + weights * _shifted(framed, dy, dx, height, width)
    return product


class _Corrections:
    """Approximate inverse of the matrix on locally linear colour models: (H, W) -> (H, W)."""

    def __init__(self, image: Array, mask: Array, held: Array) -> None:
        graph = image.graph
        height, width = graph.sides(mask.name, 0, 1)
        mean = (image * mask).sum(1, 2, keepdims=True) / mask.sum().at_least(1.0)
        basis = concat([mask.unsqueeze(0), (image - mean) * mask])  # (4, H, W)
        self.basis, planes = basis, basis.split(4)
        self.rows, self.cols = (_hats(graph, side, SIDE) for side in (height, width))
        self.coarser: list[tuple[Array, Array]] = []
        self.inverses: list[Array] = []  # per grid (4, 4, rows, cols)
        rows, cols = self.rows, self.cols
        for grid in range(GRIDS):
            if grid:
                steps = [_hats(graph, graph.sides(hats.name, 1)[0], 2) for hats in (rows, cols)]
                self.coarser.append(tuple(steps))
                rows, cols = rows @ steps[0], cols @ steps[1]
            stiffness = held + HAT_STIFFNESS / (SIDE << grid) ** 2
            before, after = (rows * rows).transpose(1, 0), cols * cols
            sums = {
                pair: (before @ (planes[pair[0]] * planes[pair[1]] * stiffness) @ after).cast(np.float64)
                for pair in _PAIRS
            }
            self.inverses.append(_inverse(sums))

    def __call__(self, residual: Array) -> Array:
        sums = [self.rows.transpose(1, 0) @ (self.basis * residual) @ self.cols]  # per grid (4, rows, cols)
        for rows, cols in self.coarser:
            sums.append(rows.transpose(1, 0) @ sums[-1] @ cols)
        models = [(inverse * part).sum(1) for inverse, part in zip(self.inverses, sums, strict=True)]
        total = models[-1]
        for model, (rows, cols) in zip(models[-2::-1], self.coarser[::-1], strict=True):
            total = rows @ total @ cols.transpose(1, 0) + model
        return (self.rows @ total @ self.cols.transpose(1, 0) * self.basis).sum(0)


def _inverse(entries: dict[tuple[int, int], Array]) -> Array:
    """Inverses (4, 4, rows, cols) of symmetric matrices with enlarged diagonals; float32.

    Args:
        entries: (rows, cols) float64 by row and column, on and above the diagonal.
    """
    swept = {(i, j): value * (1 + 1e-4) + 1e-6 if i == j else value for (i, j), value in entries.items()}

    def entry(i: int, j: int) -> Array:
        return swept[min(i, j), max(i, j)]

    for pivot in range(4):  # the sweep operator; the inverse comes out negated
        reciprocal = 1.0 / swept[pivot, pivot]
        scaled = {i: entry(i, pivot) * reciprocal for i in range(4) if i != pivot}
        swept |= {(i, j): swept[i, j] - scaled[i] * entry(j, pivot) for i, j in _PAIRS if pivot not in (i, j)}
        swept |= {(min(i, pivot), max(i, pivot)): value for i, value in scaled.items()}
        swept[pivot, pivot] = -1.0 * reciprocal
    return -1.0 * stack([stack([entry(i, j).cast(np.float32) for j in range(4)]) for i in range(4)])


def _hats(graph: Graph, length: str, spacing: int) -> Array:
    """Hat functions (length, nodes): 1 at their node, 0 at the others."""
    nodes = graph.op("Div", graph.op("Add", length, graph.ints(2 * spacing - 2)), graph.ints(spacing))  # up to the end
    positions, places = (_range(graph, count) for count in (length, nodes))
    distance = (positions / spacing).unsqueeze(1) - places
    return (1.0 - distance.op("Abs")).at_least(0.0)


def _range(graph: Graph, count: str) -> Array:
    """0.0, 1.0, ... below `count`."""
    ends = (graph.op("Squeeze", part) for part in (graph.ints(0), count, graph.ints(1)))
    return Array(graph, graph.op("Cast", graph.op("Range", *ends), to=1))
