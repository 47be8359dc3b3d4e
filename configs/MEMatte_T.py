"""MEMatte-T: routed ViT-Tiny on a closed-form alpha, distilled from ViTMatte-T."""

from .common.criteria import mematte_criterion as criterion
from .common.models import encoder, network
from .common.recipes.tiny import DIVERGENCE_WEIGHT, GRADIENT_WEIGHT, crops, optimizer, training

model = network("MEMatte_T")
teacher = encoder("ViTMatte_T")
criterion.gradient_weight = GRADIENT_WEIGHT
criterion.divergence_weight = DIVERGENCE_WEIGHT
criterion.distill_weight = 10.0
criterion.distill_known_weight = 0.1
criterion.per_block = True
dataloader = crops(size_px=448, shrink_px=480)
dataloader.train.dataset.seed = 2
optimizer.params.lr = 7e-4
train, lr_multiplier = training("MEMatte_T", batch=3, iterations=600, decay_share=0.6, freeze_norms_from=0)
train.update(ema_decay=0.99, checkpoint_period=50)
