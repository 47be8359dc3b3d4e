"""Arithmetic on values of an ONNX graph, written as on arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import TensorProto

from .graph import Graph

_KINDS = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float64): TensorProto.DOUBLE}


class Array:
    """Value of a graph; each operation appends a node.

    Numbers become constants of the value's type.
    """

    def __init__(self, graph: Graph, name: str, dtype: type = np.float32) -> None:
        self.graph, self.name, self.dtype = graph, name, np.dtype(dtype)

    def like(self, name: str) -> Array:
        """Another value of the same graph and type."""
        return Array(self.graph, name, self.dtype)

    def op(self, kind: str, *inputs: str, **attributes: object) -> Array:
        """Result of a node that has this value as its first input."""
        return self.like(self.graph.op(kind, self.name, *inputs, **attributes))

    def _with(self, kind: str, other: Array | float, swapped: bool = False) -> Array:
        if not isinstance(other, Array):
            other = self.like(self.graph.constant(np.array(other, self.dtype)))
        names = (other.name, self.name) if swapped else (self.name, other.name)
        return self.like(self.graph.op(kind, *names))

    def __add__(self, other: Array | float) -> Array:
        return self._with("Add", other)

    def __sub__(self, other: Array | float) -> Array:
        return self._with("Sub", other)

    def __rsub__(self, other: float) -> Array:
        return self._with("Sub", other, swapped=True)

    def __mul__(self, other: Array | float) -> Array:
        return self._with("Mul", other)

    def __truediv__(self, other: Array | float) -> Array:
        return self._with("Div", other)

    def __rtruediv__(self, other: float) -> Array:
        return self._with("Div", other, swapped=True)

    def __matmul__(self, other: Array) -> Array:
        return self._with("MatMul", other)

    __radd__, __rmul__ = __add__, __mul__

    def at_least(self, bound: Array | float) -> Array:
        """The larger of the two."""
        return self._with("Max", bound)

    def at_most(self, bound: Array | float) -> Array:
        """The smaller of the two."""
        return self._with("Min", bound)

    def below(self, other: Array | float) -> str:
        """Name of a bool value: less than `other`."""
        return self._with("Less", other).name

    def sqrt(self) -> Array:
        """Square root."""
        return self.op("Sqrt")

    def sum(self, *axes: int, keepdims: bool = False) -> Array:
        """Sum over axes; over all without any."""
        over = [self.graph.ints(*axes)] if axes else []
        return self.op("ReduceSum", *over, keepdims=int(keepdims))

    def mean(self, axis: int) -> Array:
        """Mean over one axis, which disappears."""
        return self.op("ReduceMean", self.graph.ints(axis), keepdims=0)

    def cast(self, dtype: type) -> Array:
        """The same numbers as float32 or float64."""
        name = self.graph.op("Cast", self.name, to=_KINDS[np.dtype(dtype)])
        return Array(self.graph, name, dtype)

    def transpose(self, *perm: int) -> Array:
        """Permute axes."""
        return self.op("Transpose", perm=perm)

    def reshape(self, *parts: str | int) -> Array:
        """Reshape; 0 copies a length, -1 infers one."""
        return self.like(self.graph.reshape(self.name, *parts))

    def unsqueeze(self, *axes: int) -> Array:
        """Insert axes of length 1."""
        return self.op("Unsqueeze", self.graph.ints(*axes))

    def split(self, count: int) -> list[Array]:
        """Entries of the first axis, which has `count` of them."""
        parts = self.graph.op_many("Split", count, self.name, axis=0, num_outputs=count)
        return [self.like(self.graph.op("Squeeze", part, self.graph.ints(0))) for part in parts]

    def slice(self, starts: Sequence[str | int], stops: Sequence[str | int], axes: Sequence[int]) -> Array:
        """Half-open ranges of some axes."""
        shape = self.graph.shape
        return self.op("Slice", shape(*starts), shape(*stops), self.graph.ints(*axes))

    def pad(self, before: Sequence[str | int], after: Sequence[str | int]) -> Array:
        """Zeros before and after along all axes."""
        return self.op("Pad", self.graph.shape(*before, *after))

    def where(self, condition: str, other: Array | float) -> Array:
        """This value where `condition` holds, `other` elsewhere."""
        if not isinstance(other, Array):
            other = self.like(self.graph.constant(np.array(other, self.dtype)))
        return self.like(self.graph.op("Where", condition, self.name, other.name))


def stack(parts: Sequence[Array], axis: int = 0) -> Array:
    """Join values along a new axis."""
    names = [part.unsqueeze(axis).name for part in parts]
    return parts[0].like(parts[0].graph.op("Concat", *names, axis=axis))


def concat(parts: Sequence[Array], axis: int = 0) -> Array:
    """Join values along an axis."""
    return parts[0].like(parts[0].graph.op("Concat", *(part.name for part in parts), axis=axis))


def scan(
    body: Callable[..., tuple[Sequence[Array], Sequence[Array]]],
    states: Sequence[Array],
    stacks: Sequence[Array],
    backwards: bool = False,
) -> list[Array]:
    """Walk along the first axis of `stacks`, all float32.

    Args:
        body: from the states and one slice of each stack to the next states and to results.
        states: before the first step.
        stacks: what is walked along.
        backwards: from the last slice to the first; results keep the order of the slices.

    Returns:
        the last states, then the stacked results.
    """
    graph = (*states, *stacks)[0].graph

    def inner(*names: str) -> list[str]:
        values = [Array(graph, name) for name in names]
        following, results = body(*values)
        return [value.name for value in (*following, *results)]

    names = graph.scan(inner, [value.name for value in states], [value.name for value in stacks], backwards=backwards)
    return [Array(graph, name) for name in names]
