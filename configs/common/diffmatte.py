"""DiffMatte's networks around each encoder."""

from detectron2.config import LazyCall as L

from modeling.backbone.prior_swin import PriorSwin
from modeling.backbone.resnet import ResNet34D
from modeling.decoder.diffusion_decoder import DiffusionDecoder
from modeling.diffmatte import DiffMatte
from modeling.mediffmatte import MEDiffMatte

from .vit import backbone as vit


def diffmatte(backbone, down_channels: list[int], up_channels: list[int], network: type = DiffMatte):
    return L(network)(
        backbone=backbone,
        decoder=L(DiffusionDecoder)(down_channels=down_channels, up_channels=up_channels),
        sample_strategy="ddim10",
        signal_scale=0.2,
        seed=8282,
        published_foreground=False,
    )


def diffmatte_vit(embed_dim: int, num_heads: int, table_side: int = 32):
    """`table_side`: tokens a side of the crops that the relative positions were trained on."""
    backbone = vit(embed_dim, num_heads, routed=False)
    backbone.table_side = table_side
    return diffmatte(backbone, [7, 32, 64, 128], [embed_dim, 256, 128, 64, 32])


def mediffmatte(embed_dim: int, num_heads: int):
    backbone = vit(embed_dim, num_heads, routed=True)
    model = diffmatte(backbone, [7, 32, 64, 128], [embed_dim, 256, 128, 64, 32], network=MEDiffMatte)
    model.distill = True
    return model


def diffmatte_res34():
    return diffmatte(L(ResNet34D)(), [7, 32, 64, 128, 128], [512, 256, 256, 128, 64, 32])


def diffmatte_swin_t():
    return diffmatte(L(PriorSwin)(drop_path=0.3), [7, 32, 64, 128, 128], [768, 256, 256, 128, 64, 32])
