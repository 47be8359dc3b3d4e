"""The detail-capture decoder as ONNX nodes."""

import numpy as np
from torch import nn

from modeling.decoder.detail_capture import LOGIT_MARGIN, DetailCapture

from .graph import Graph
from .vit import array


def write_decoder(graph: Graph, decoder: DetailCapture, features: str, inputs: str) -> str:
    """Nodes from features (1, C, h, w) and the input (1, 4 or 5, H, W) to alpha (1, 1, H, W).

    The decoder's batch norms must be folded into its convolutions.
    """
    details = [inputs]
    for block in decoder.convstream.convs:
        details.append(graph.op("Relu", _conv(graph, details[-1], block.conv)))
    fused = features
    for block, detail in zip(decoder.fusion_blks, reversed(details), strict=True):
        doubled = graph.op(
            "Resize",
            fused,
            "",
            graph.floats(1, 1, 2, 2),
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )
        fused = graph.op("Relu", _conv(graph, graph.op("Concat", detail, doubled, axis=1), block.conv.conv))
    first, last = decoder.matting_head.matting_convs[0], decoder.matting_head.matting_convs[3]
    hidden = graph.op("Relu", _conv(graph, fused, first))
    logit = _conv(graph, hidden, last)
    if decoder.residual:
        started = _last_plane_logit(graph, inputs)
        if decoder.weighed:
            weight = graph.op("Sigmoid", _plane(graph, logit, 1))
            started = graph.op("Mul", started, graph.op("Mul", weight, graph.scalar(2.0)))
            logit = _plane(graph, logit, 0)
        logit = graph.op("Add", logit, started)
    return graph.op("Sigmoid", logit)


def _last_plane_logit(graph: Graph, inputs: str) -> str:
    """Logit (1, 1, H, W) of the alpha that is the last channel of the input."""
    alpha = _plane(graph, inputs, -1)
    low, high = (graph.constant(np.array(value, np.float32)) for value in (LOGIT_MARGIN, 1 - LOGIT_MARGIN))
    alpha = graph.op("Min", graph.op("Max", alpha, low), high)
    return graph.op("Log", graph.op("Div", alpha, graph.op("Sub", graph.scalar(1.0), alpha)))


def _plane(graph: Graph, planes: str, index: int) -> str:
    """One channel (1, 1, H, W) of (1, C, H, W)."""
    stop = index + 1 or np.iinfo(np.int64).max
    return graph.op("Slice", planes, graph.ints(index), graph.ints(stop), graph.ints(1))


def _conv(graph: Graph, value: str, conv: nn.Conv2d) -> str:
    weights = [graph.weight(array(conv.weight))]
    if conv.bias is not None:
        weights.append(graph.weight(array(conv.bias)))
    pad_y, pad_x = conv.padding
    return graph.op(
        "Conv",
        value,
        *weights,
        kernel_shape=conv.kernel_size,
        strides=conv.stride,
        pads=[pad_y, pad_x, pad_y, pad_x],
    )
