"""A MEMatte that trains in seconds on one core."""

from detectron2.config import LazyCall as L

from configs.common.criteria import mematte_criterion as criterion  # noqa: F401
from configs.common.optim import optimizer  # noqa: F401
from configs.common.train import train_settings
from engine.training.schedule import stepped_multiplier
from modeling.backbone.vit import ViT
from modeling.decoder.detail_capture import DetailCapture
from modeling.mematte import MEMatte
from tests.engine.synthetic import build_loader


def backbone(routed: bool):
    return L(ViT)(
        embed_dim=32,
        depth=4,
        num_heads=2,
        window_size=4,
        global_blocks=[1, 3],
        routed=routed,
        table_side=4,
        pretrain_side=4,
    )


model = L(MEMatte)(
    backbone=backbone(routed=True),
    decoder=L(DetailCapture)(feature_chans=32, stream_chans=(8, 8, 16), fusion_chans=(16, 16, 8, 8), head_chans=8),
    distill=False,
)
teacher = backbone(routed=False)
dataloader = dict(train=L(build_loader)(length=50, side=64, num_workers=0, broken_from=None))
train = train_settings("tiny", total_batch_size=2, max_iter=20, checkpoint_period=10)
train.update(device="cpu", log_period=1, image_period=10)
lr_multiplier = L(stepped_multiplier)(
    max_iter="${train.max_iter}", milestones=[15], values=[1, 0.1], warmup_iters=2, warmup_factor=0.001
)
