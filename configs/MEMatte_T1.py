"""MEMatte-T of the first generation, without the closed-form alpha."""

from .common.criteria import mematte_criterion as criterion
from .common.models import encoder, network
from .common.recipes.tiny import GRADIENT_WEIGHT, crops, optimizer, training

model = network("MEMatte_T1")
teacher = encoder("ViTMatte_T1")
criterion.gradient_weight = GRADIENT_WEIGHT
criterion.distill_weight = 10.0
criterion.distill_known_weight = 0.1
criterion.per_block = True
dataloader = crops(size_px=224, shrink_px=320)
dataloader.train.dataset.seed = 2
optimizer.params.lr = 3e-3
train, lr_multiplier = training("MEMatte_T1", batch=8, iterations=1_500, decay_share=0.8, freeze_norms_from=0)
