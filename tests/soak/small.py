"""Config of the network of `tests.modeling.small`, for commands."""

from detectron2.config import LazyCall as L

from modeling.backbone.vit import ViT
from modeling.decoder.detail_capture import DetailCapture
from modeling.mematte import MEMatte
from tests.modeling import small

model = L(MEMatte)(backbone=L(ViT)(**small.VIT, routed=True), decoder=L(DetailCapture)(**small.DECODER))
