"""Small builder of ONNX graphs: one method call per node, names generated."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

OPSET = 20  # LayerNormalization (17) and exact Gelu (20); nothing newer or vendor-specific
IR_VERSION = 10


class Graph:
    """Graph under construction.

    Bodies of Scan share names and constants with the graph around them.
    """

    def __init__(self, half: bool = False) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._model = onnx.ModelProto()  # weights go into it at once: they are large, and helpers copy what they get
        self.half = half
        self._count = 0
        self._known: dict[tuple, str] = {}

    def fresh(self, kind: str) -> str:
        """A name that no other value has."""
        self._count += 1
        return f"{kind.lower()}_{self._count}"

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Append a node with one output; returns the output's name."""
        return self.op_many(kind, 1, *inputs, **attributes)[0]

    def op_many(self, kind: str, outputs: int, *inputs: str, **attributes: object) -> list[str]:
        """Append a node with several outputs."""
        names = [self.fresh(kind) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=names[0], **attributes))
        return names

    def named(self, value: str, name: str) -> None:
        """Give `value` a public name."""
        self.nodes.append(helper.make_node("Identity", [value], [name]))

    def constant(self, array: np.ndarray) -> str:
        """A small constant; equal ones are stored once."""
        array = np.ascontiguousarray(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self._store(array)
        return self._known[key]

    def weight(self, array: np.ndarray) -> str:
        """Initialiser of a weight; matrices are fp16 where the graph stores half."""
        array = np.ascontiguousarray(array, np.float32)
        if self.half and array.ndim > 1:
            return self.op("Cast", self._store(array.astype(np.float16)), to=TensorProto.FLOAT)
        return self._store(array)

    def ints(self, *values: int) -> str:
        """A constant int64 vector."""
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        """A constant float."""
        return self.constant(np.array(value, np.float32))

    def floats(self, *values: float) -> str:
        """A constant float vector."""
        return self.constant(np.array(values, np.float32))

    def sides(self, value: str, *axes: int) -> list[str]:
        """Lengths of some axes, each an int64 vector of one."""
        shape = self.op("Shape", value)
        return [self.op("Gather", shape, self.ints(axis), axis=0) for axis in axes]

    def shape(self, *parts: str | int) -> str:
        """A shape from lengths (vectors of one) and numbers."""
        return self.op("Concat", *(self.ints(part) if isinstance(part, int) else part for part in parts), axis=0)

    def reshape(self, value: str, *parts: str | int) -> str:
        """Reshape; 0 copies a length, -1 infers one."""
        if all(isinstance(part, int) for part in parts):
            return self.op("Reshape", value, self.ints(*parts))
        return self.op("Reshape", value, self.shape(*parts))

    def transpose(self, value: str, *perm: int) -> str:
        """Permute axes."""
        return self.op("Transpose", value, perm=perm)

    def linear(self, value: str, weight: np.ndarray, bias: np.ndarray | None = None) -> str:
        """(..., in) -> (..., out) with a weight (out, in)."""
        product = self.op("MatMul", value, self.weight(weight.T))
        return product if bias is None else self.op("Add", product, self.weight(bias))

    def layer_norm(self, value: str, weight: np.ndarray, bias: np.ndarray, eps: float) -> str:
        """Normalise the last axis."""
        return self.op("LayerNormalization", value, self.weight(weight), self.weight(bias), axis=-1, epsilon=eps)

    def map(self, body: Callable[..., str], *stacks: str) -> str:
        """Apply `body` to each slice of `stacks`, stacking the results.

        One slice along the first axis at a time.

        The working memory of `body` is needed once, not once per slice. `body` may use values of the outer graph.
        """
        return self.scan(lambda *slices: [body(*slices)], [], stacks)[0]

    def scan(
        self,
        body: Callable[..., Sequence[str]],
        states: Sequence[str],
        stacks: Sequence[str],
        backwards: bool = False,
    ) -> list[str]:
        """Apply `body` to slices with states handed on between them, float32.

        Args:
            body: from the states and one slice of each stack to the next states, then results; all made inside.
            states: before the first step.
            stacks: at least one.
            backwards: from the last slice to the first; results keep the order of the slices.

        Returns:
            the last states, then the stacked results.
        """
        outer, self.nodes = self.nodes, []
        names = [self.fresh("state") for _ in states] + [self.fresh("slice") for _ in stacks]
        results = body(*names)
        inputs, outputs = (
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in values]
            for values in (names, results)
        )
        inner = helper.make_graph(self.nodes, self.fresh("body"), inputs, outputs)
        self.nodes = outer
        attributes = {"body": inner, "num_scan_inputs": len(stacks)}
        if backwards:
            attributes["scan_input_directions"] = [1] * len(stacks)
            attributes["scan_output_directions"] = [1] * (len(results) - len(states))
        return self.op_many("Scan", len(results), *states, *stacks, **attributes)

    def model(
        self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """The finished model."""
        model, graph = self._model, self._model.graph
        graph.name = name
        graph.node.extend(self.nodes)
        graph.input.extend(inputs)
        graph.output.extend(outputs)
        model.opset_import.append(helper.make_opsetid("", OPSET))
        model.producer_name, model.ir_version = "mematte", IR_VERSION
        return model

    def _store(self, array: np.ndarray) -> str:
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor = self._model.graph.initializer.add(name=self.fresh("constant"), dims=array.shape, data_type=kind)
        tensor.raw_data = array.tobytes()
        return tensor.name
