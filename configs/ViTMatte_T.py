"""ViTMatte-T: ViT-Tiny on a closed-form alpha; the teacher of MEMatte-T."""

from .common.criteria import vitmatte_criterion as criterion
from .common.models import network
from .common.recipes.tiny import DIVERGENCE_WEIGHT, GRADIENT_WEIGHT, crops, optimizer, training

model = network("ViTMatte_T")
criterion.gradient_weight = GRADIENT_WEIGHT
criterion.divergence_weight = DIVERGENCE_WEIGHT
dataloader = crops(size_px=448, shrink_px=480)  # smaller ones have a worse closed-form alpha than whole pictures
optimizer.params.lr = 7e-4
train, lr_multiplier = training("ViTMatte_T", batch=3, iterations=12_000, decay_share=0.3, freeze_norms_from=0)
train.update(ema_decay=0.998, eval_period=2000, checkpoint_period=50)
