"""DiffMatte's networks around each encoder, and their training.

The authors released configs but no training script. Published: batches, epochs, rates and their milestones, weight and
layer decay, warm-up, seed, full precision, the five losses, where stage 2 starts. Inferred, here and in the configs:

* Until stage 2 training is plain. Their stage 1 starts at "epoch" 1000, which no run reaches.
* All losses have weight 1. The alignment losses that their code also contains are off in all of their configs.
* Rates of a ViT fall with depth. Their rule looks for names that start with "backbone"; whether it saw them is unknown.
* Rates of Res34 and SwinT do not: the rule does nothing for the first, and block numbers of a Swin start anew in every
  stage.
* Crops of 512 px but for ViTS_1024. Their common data config says 1024 for all; names and tables of relative positions
  say 512.
"""

from detectron2.config import LazyCall as L

from engine.training.schedule import iterations
from modeling.backbone.prior_swin import PriorSwin
from modeling.backbone.resnet import ResNet34D
from modeling.decoder.diffusion_decoder import DiffusionDecoder
from modeling.diffmatte import DiffMatte
from modeling.mediffmatte import MEDiffMatte

from .schedule import schedule
from .vit import backbone as vit

IMAGES = 43_100  # in what the authors call an epoch


def diffmatte(backbone, down_channels: list[int], up_channels: list[int], network: type = DiffMatte):
    return L(network)(
        backbone=backbone,
        decoder=L(DiffusionDecoder)(down_channels=down_channels, up_channels=up_channels),
        sample_strategy="ddim10",
        signal_scale=0.2,
        seed=8282,
        published_foreground=False,
        self_align_stage1_step=None,
        self_align_stage2_step=None,
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


def training(
    model,
    name: str,
    batch: int,
    epochs: int,
    stage2_epoch: int,
    decay_epochs: tuple[int, ...],
    values: tuple[float, ...] = (1, 0.1, 0.05, 0.01),
    checkpoint_epochs: int = 10,
):
    """Settings of a run and its multiplier, as `schedule`; tells `model` where its stage 2 starts."""
    train, lr_multiplier = schedule(name, IMAGES, batch, epochs, decay_epochs, checkpoint_epochs, values)
    train.update(precision="fp32", seed=8282)
    model.self_align_stage2_step = iterations(IMAGES, batch, stage2_epoch)
    return train, lr_multiplier
