"""The detail-capture decoder as ONNX nodes."""

from torch import nn

from modeling.decoder.detail_capture import DetailCapture

from .graph import Graph
from .vit import array


def write_decoder(graph: Graph, decoder: DetailCapture, features: str, inputs: str) -> str:
    """Nodes from features (1, C, h, w) and the input (1, 4, H, W) to alpha (1, 1, H, W).

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
    return graph.op("Sigmoid", _conv(graph, hidden, last))


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
