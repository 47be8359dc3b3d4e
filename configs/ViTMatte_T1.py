"""ViTMatte-T of the first generation, from random weights."""

from .common.criteria import vitmatte_criterion as criterion
from .common.models import network
from .common.recipes.tiny import GRADIENT_WEIGHT, crops, optimizer, training

model = network("ViTMatte_T1")
criterion.gradient_weight = GRADIENT_WEIGHT
dataloader = crops(size_px=224, shrink_px=320)
train, lr_multiplier = training("ViTMatte_T1", batch=8, iterations=4_800, decay_share=0.2, freeze_norms_from=1500)
