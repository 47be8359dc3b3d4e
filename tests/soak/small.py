"""Config of the network of `tests.modeling.small`, for commands."""

from detectron2.config import LazyCall as L

from modeling.backbone.vit import ViT
from modeling.decoder.detail_capture import DetailCapture
from modeling.mematte import MEMatte

model = L(MEMatte)(
    backbone=L(ViT)(
        embed_dim=32,
        depth=4,
        num_heads=2,
        window_size=5,
        global_blocks=[1, 3],
        routed=True,
        table_side=6,
        pretrain_side=4,
    ),
    decoder=L(DetailCapture)(feature_chans=32, stream_chans=(8, 12, 16), fusion_chans=(24, 16, 12, 8), head_chans=8),
)
