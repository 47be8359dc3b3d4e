"""ViTMatte-T with closed-form alpha as input; teacher of MEMatte_T_prior."""

from .common.criteria import vitmatte_criterion as criterion
from .common.models import network
from .common.recipes.tiny import GRADIENT_WEIGHT, crops, optimizer, training

model = network("ViTMatte_T_prior")
criterion.gradient_weight = GRADIENT_WEIGHT
dataloader = crops(size_px=224)
train, lr_multiplier = training("ViTMatte_T_prior", batch=8, iterations=4_800, decay_share=0.2, freeze_norms_from=1500)
