"""ViTMatte-T: ViT-Tiny, the teacher of MEMatte-T; trained from random weights on free material."""

from detectron2.config import LazyCall as L

from modeling.vitmatte import ViTMatte

from .common.criterion import vitmatte_criterion as criterion
from .common.tiny import crops, decoder, encoder, optimizer, training

model = L(ViTMatte)(backbone=encoder(routed=False), decoder=decoder())
dataloader = crops(windows=1)
train, lr_multiplier = training("ViTMatte_T", batch=8, iterations=6_000)
