"""Plain ViT as ONNX nodes: routed at any size, unrouted at one.

Queries of global attention are processed in chunks and windows in rows, so that no tensor has tokens x tokens entries.
"""

import numpy as np
from torch import Tensor, nn

from modeling.backbone.attention import relative_table
from modeling.backbone.vit import ViT

from .graph import Graph

CHUNK = 256  # queries of global attention at once


def array(tensor: Tensor) -> np.ndarray:
    """A weight as float32."""
    return tensor.detach().float().numpy()


class VitWriter:
    """Writes the nodes of one backbone into a graph.

    Args:
        graph: where the nodes go.
        vit: the backbone, in evaluation mode.
        size: (h, w) of the token grid, for backbones with relative positions in global blocks; None: any size.
    """

    def __init__(self, graph: Graph, vit: ViT, size: tuple[int, int] | None = None) -> None:
        self.graph, self.vit, self.size = graph, vit, size
        self.heads = vit.blocks[0].attn.num_heads
        self.head_dim = vit.embed_dim // self.heads

    def write(self, inputs: str, max_tokens: str | None) -> tuple[str, str | None]:
        """Nodes from the input (1, 4 or 5, H, W) to features (1, C, h, w).

        Returns:
            names of the features and, of routed backbones, of the keep maps (blocks, h, w) bool.
        """
        graph, vit = self.graph, self.vit
        patch, proj = vit.patch_size, vit.patch_embed.proj
        weights = graph.weight(array(proj.weight)), graph.weight(array(proj.bias))
        grid = graph.op("Conv", inputs, *weights, kernel_shape=[patch] * 2, strides=[patch] * 2)
        self.height, self.width = graph.sides(grid, 2, 3)
        tokens = graph.transpose(graph.op("Add", grid, self._positions()), 0, 2, 3, 1)  # (1, h, w, C)
        keep = []
        for index, block in enumerate(vit.blocks):
            normed = self._norm(tokens, block.norm1)
            if index not in vit.global_blocks:
                mixed = self._windows(normed, block.attn, block.window_size)
            elif vit.routed:
                kept = self._decide(tokens, vit.routers[len(keep)], max_tokens)
                keep.append(self._keep_map(kept))
                mixed = self._routed(tokens, normed, block, kept)
            else:
                mixed = self._grid_attention(normed, block.attn)
            tokens = graph.op("Add", tokens, mixed)
            hidden = graph.op("Gelu", self._linear(self._norm(tokens, block.norm2), block.mlp.fc1))
            tokens = graph.op("Add", tokens, self._linear(hidden, block.mlp.fc2))
            if index in vit.global_blocks:
                tokens = self._residual(tokens, block.residual)
        if vit.norm is not None:
            tokens = self._norm(tokens, vit.norm)
        features = graph.transpose(tokens, 0, 3, 1, 2)
        return features, graph.op("Concat", *keep, axis=0) if keep else None

    def _positions(self) -> str:
        side = self.vit.pretrain_side
        grid = array(self.vit.pos_embed)[0, 1:].reshape(side, side, -1).transpose(2, 0, 1)[None]  # (1, C, side, side)
        graph = self.graph
        return graph.op(
            "Resize",
            graph.constant(grid),
            "",
            "",
            graph.shape(1, grid.shape[1], self.height, self.width),
            mode="cubic",
            cubic_coeff_a=-0.75,
            coordinate_transformation_mode="half_pixel",
        )

    def _norm(self, value: str, norm: nn.Module) -> str:
        return self.graph.layer_norm(value, array(norm.weight), array(norm.bias), norm.eps)

    def _linear(self, value: str, linear: nn.Linear) -> str:
        return self.graph.linear(value, array(linear.weight), array(linear.bias))

    def _split_heads(self, tokens: str, attn: nn.Module) -> list[str]:
        """(..., L, C) with one leading axis -> q, k, v, each (n, heads, L, d)."""
        graph = self.graph
        parts = graph.op_many("Split", 3, self._linear(tokens, attn.qkv), axis=-1, num_outputs=3)
        return [graph.transpose(graph.reshape(part, 0, 0, self.heads, self.head_dim), 0, 2, 1, 3) for part in parts]

    def _attend(self, q: str, k: str, v: str, bias: str | None) -> str:
        """q (..., L, d), k and v (..., M, d) -> (..., L, d)."""
        graph = self.graph
        turned = self.graph.transpose(k, 0, 1, 3, 2)
        logits = graph.op("MatMul", graph.op("Mul", q, graph.scalar(self.head_dim**-0.5)), turned)
        logits = logits if bias is None else graph.op("Add", logits, bias)
        return graph.op("MatMul", graph.op("Softmax", logits, axis=-1), v)

    def _windows(self, normed: str, attn: nn.Module, side: int) -> str:
        """Attention inside windows, one row of windows at a time: (1, h, w, C) -> (1, h, w, C)."""
        graph, dim = self.graph, self.vit.embed_dim
        length, one = graph.ints(side), graph.ints(1)
        rows, cols = (
            graph.op("Div", graph.op("Add", count, graph.ints(side - 1)), length) for count in (self.height, self.width)
        )
        missing = [
            graph.op("Sub", graph.op("Mul", windows, length), count)
            for windows, count in ((rows, self.height), (cols, self.width))
        ]
        padded = graph.op("Pad", normed, graph.shape(0, 0, 0, 0, 0, *missing, 0))
        windows = graph.transpose(graph.reshape(padded, rows, side, cols, side, dim), 0, 2, 1, 3, 4)
        windows = graph.reshape(windows, rows, cols, side * side, dim)
        vertical = array(relative_table(attn.rel_pos_h, side)).transpose(0, 2, 1)  # (s, d, s)
        horizontal = array(relative_table(attn.rel_pos_w, side)).transpose(0, 2, 1)
        tables = graph.weight(vertical), graph.weight(horizontal)

        def attend_row(row: str) -> str:  # (cols, s*s, C)
            q, k, v = self._split_heads(row, attn)
            grid = graph.reshape(q, 0, 0, side, side, self.head_dim)  # (cols, heads, s, s, d)
            along_rows = graph.op("MatMul", grid, tables[0])  # (cols, heads, s, s, s)
            along_cols = graph.op("MatMul", graph.transpose(grid, 0, 1, 3, 2, 4), tables[1])
            along_cols = graph.transpose(along_cols, 0, 1, 3, 2, 4)
            bias = graph.op(
                "Add",
                graph.op("Unsqueeze", along_rows, graph.ints(5)),
                graph.op("Unsqueeze", along_cols, graph.ints(4)),
            )
            bias = graph.reshape(bias, 0, 0, side * side, side * side)
            mixed = graph.transpose(self._attend(q, k, v, bias), 0, 2, 1, 3)
            return self._linear(graph.reshape(mixed, 0, 0, dim), attn.proj)

        mixed = graph.map(attend_row, windows)  # (rows, cols, s*s, C)
        mixed = graph.transpose(graph.reshape(mixed, rows, cols, side, side, dim), 0, 2, 1, 3, 4)
        mixed = graph.reshape(mixed, one, graph.op("Mul", rows, length), graph.op("Mul", cols, length), dim)
        ends = graph.shape(self.height, self.width)
        return graph.op("Slice", mixed, graph.ints(0, 0), ends, graph.ints(1, 2))

    def _decide(self, tokens: str, router: nn.Module, max_tokens: str) -> str:
        """Tokens for global attention: positive margins, the largest within the cap."""
        graph, dim = self.graph, self.vit.embed_dim
        norm, linear = router.in_conv[0], router.in_conv[1]
        hidden = graph.op("Gelu", self._linear(self._norm(tokens, norm), linear))
        own, shared = graph.op_many("Split", 2, hidden, axis=-1, num_outputs=2)
        double = graph.op("Cast", shared, to=11)  # the mean over many tokens decides ties
        mean = graph.op("Cast", graph.op("ReduceMean", double, graph.ints(1, 2), keepdims=1), to=1)
        mean = graph.op("Expand", mean, graph.shape(1, self.height, self.width, dim // 2))
        hidden = graph.op("Concat", own, mean, axis=-1)
        for layer in (router.out_conv[0], router.out_conv[2]):
            hidden = graph.op("Gelu", self._linear(hidden, layer))
        logp = graph.op("LogSoftmax", self._linear(hidden, router.out_conv[4]), axis=-1)
        keep, skip = graph.op_many("Split", 2, graph.reshape(logp, -1, 2), axis=-1, num_outputs=2)
        margins = graph.reshape(graph.op("Sub", keep, skip), -1)
        wanted = graph.op("Cast", graph.op("Greater", margins, graph.scalar(0.0)), to=7)
        count = graph.op("Min", graph.op("ReduceSum", wanted, graph.ints(0), keepdims=1), max_tokens)
        return graph.op_many("TopK", 2, margins, count, axis=0)[1]  # of equal margins the earlier token

    def _keep_map(self, kept: str) -> str:
        graph = self.graph
        ones = graph.op("Expand", graph.ints(1), graph.op("Shape", kept))
        count = graph.op("Mul", self.height, self.width)
        zeros = graph.op("Expand", graph.ints(0), count)
        flat = graph.op("ScatterElements", zeros, kept, ones, axis=0)
        return graph.op("Cast", graph.reshape(flat, 1, self.height, self.width), to=9)

    def _routed(self, tokens: str, normed: str, block: nn.Module, kept: str) -> str:
        """Global attention for the kept tokens, the light branch for the others: (1, h, w, C) -> (1, h, w, C)."""
        graph, dim = self.graph, self.vit.embed_dim
        chosen = graph.op("Gather", graph.reshape(normed, -1, dim), kept, axis=0)  # (n, C)
        q, k, v = self._split_heads(graph.op("Unsqueeze", chosen, graph.ints(0)), block.attn)  # (1, heads, n, d)
        count = graph.sides(kept, 0)[0]
        chunks = graph.op("Div", graph.op("Add", count, graph.ints(CHUNK - 1)), graph.ints(CHUNK))
        chunks = graph.op("Max", chunks, graph.ints(1))  # Scan takes no empty stack
        missing = graph.op("Sub", graph.op("Mul", chunks, graph.ints(CHUNK)), count)
        q = graph.op("Pad", graph.transpose(q, 2, 0, 1, 3), graph.shape(0, 0, 0, 0, missing, 0, 0, 0))
        q = graph.transpose(graph.reshape(q, -1, CHUNK, self.heads, self.head_dim), 0, 2, 1, 3)

        def attend_chunk(part: str) -> str:  # (heads, CHUNK, d)
            mixed = self._attend(graph.op("Unsqueeze", part, graph.ints(0)), k, v, None)
            return graph.op("Squeeze", graph.transpose(mixed, 0, 2, 1, 3), graph.ints(0))  # (CHUNK, heads, d)

        mixed = graph.reshape(graph.map(attend_chunk, q), -1, dim)
        mixed = graph.op("Slice", mixed, graph.ints(0), count, graph.ints(0))
        slow = self._linear(mixed, block.attn.proj)
        light = graph.reshape(self._light_branch(tokens, block.efficient_block), -1, dim)
        rows = graph.op("Unsqueeze", kept, graph.ints(1))
        joined = graph.op("ScatterND", light, rows, slow)
        return graph.reshape(joined, 1, self.height, self.width, dim)

    def _light_branch(self, tokens: str, ltrm: nn.Module) -> str:
        """LTRM: (1, h, w, C) -> (1, h, w, C)."""
        graph = self.graph
        hidden = graph.transpose(graph.op("Gelu", self._linear(tokens, ltrm.fc1)), 0, 3, 1, 2)
        conv = ltrm.dwconv
        hidden = graph.op(
            "Conv",
            hidden,
            graph.weight(array(conv.weight)),
            graph.weight(array(conv.bias)),
            group=conv.groups,
            pads=[conv.padding[0]] * 4,
            kernel_shape=conv.kernel_size,
        )
        refined = self._linear(graph.op("Gelu", graph.transpose(hidden, 0, 2, 3, 1)), ltrm.fc2)
        mean = graph.op("ReduceMean", refined, graph.ints(1, 2), keepdims=0)  # (1, C)
        eca = ltrm.eca.conv
        gate = graph.op(
            "Conv",
            graph.op("Unsqueeze", mean, graph.ints(1)),
            graph.weight(array(eca.weight)),
            pads=[eca.padding[0]] * 2,
            kernel_shape=eca.kernel_size,
        )  # (1, 1, C)
        gate = graph.op("Add", graph.op("Sigmoid", graph.op("Unsqueeze", gate, graph.ints(1))), graph.scalar(1.0))
        return graph.op("Mul", refined, gate)

    def _grid_attention(self, normed: str, attn: nn.Module) -> str:
        """Global attention with relative positions, one row of queries per step.

        The size is fixed.
        """
        graph, dim = self.graph, self.vit.embed_dim
        height, width = self.size
        q, k, v = self._split_heads(graph.reshape(normed, 1, -1, dim), attn)
        q = graph.transpose(graph.reshape(q, self.heads, height, width, self.head_dim), 1, 0, 2, 3)
        vertical = graph.weight(array(relative_table(attn.rel_pos_h, height)).transpose(0, 2, 1))  # (h, d, h)
        horizontal = graph.weight(array(relative_table(attn.rel_pos_w, width)).transpose(0, 2, 1))  # (w, d, w)

        def attend_row(row: str, table: str) -> str:  # (heads, w, d), (d, h)
            along_rows = graph.op("MatMul", row, table)  # (heads, w, h)
            turned = graph.op("MatMul", graph.transpose(row, 1, 0, 2), horizontal)  # (w, heads, w)
            along_cols = graph.transpose(turned, 1, 0, 2)  # (heads, w, w)
            bias = graph.op(
                "Add",
                graph.op("Unsqueeze", along_rows, graph.ints(3)),
                graph.op("Unsqueeze", along_cols, graph.ints(2)),
            )
            bias = graph.reshape(bias, 1, self.heads, width, height * width)
            mixed = self._attend(graph.op("Unsqueeze", row, graph.ints(0)), k, v, bias)
            return graph.op("Squeeze", graph.transpose(mixed, 0, 2, 1, 3), graph.ints(0))  # (w, heads, d)

        mixed = graph.reshape(graph.map(attend_row, q, vertical), 1, height, width, dim)
        return self._linear(mixed, attn.proj)

    def _residual(self, tokens: str, unit: nn.Module) -> str:
        """Convolutional bottleneck of a global block: (1, h, w, C) -> (1, h, w, C)."""
        graph = self.graph
        hidden = graph.linear(tokens, array(unit.conv1.weight)[:, :, 0, 0])
        hidden = graph.transpose(graph.op("Gelu", self._norm(hidden, unit.norm1)), 0, 3, 1, 2)
        hidden = graph.op(
            "Conv", hidden, graph.weight(array(unit.conv2.weight)), pads=[1, 1, 1, 1], kernel_shape=[3, 3]
        )
        hidden = graph.op("Gelu", self._norm(graph.transpose(hidden, 0, 2, 3, 1), unit.norm2))
        hidden = self._norm(graph.linear(hidden, array(unit.conv3.weight)[:, :, 0, 0]), unit.norm3)
        return graph.op("Add", tokens, hidden)
