"""ViTMatte-T: ViT-Tiny, the teacher of MEMatte-T; trained from random weights on free material.

The rate stays high to the end: ViTMatte_T_448 goes on from there and lowers it.
"""

from detectron2.config import LazyCall as L

from modeling.vitmatte import ViTMatte

from .common.criterion import vitmatte_criterion as criterion
from .common.tiny import GRADIENT_WEIGHT, crops, decoder, encoder, optimizer, training

model = L(ViTMatte)(backbone=encoder(routed=False), decoder=decoder())
criterion.gradient_weight = GRADIENT_WEIGHT
dataloader = crops(windows=1)
train, lr_multiplier = training("ViTMatte_T", batch=8, iterations=2_500, decay_share=0.02, freeze_norms_from=1500)
