"""MEMatte-T: a quarter of ViT-Tiny's tokens in global attention; distilled from ViTMatte-T on free material."""

from detectron2.config import LazyCall as L

from modeling.mematte import MEMatte

from .common.criterion import mematte_criterion as criterion
from .common.tiny import GRADIENT_WEIGHT, crops, decoder, encoder, optimizer, training

model = L(MEMatte)(backbone=encoder(routed=True), decoder=decoder(), distill=True)
model.backbone.router_noise = 0.0
teacher = encoder(routed=False)
criterion.gradient_weight = GRADIENT_WEIGHT
criterion.distill_weight = 10.0
criterion.distill_known_weight = 0.1
criterion.per_block = True
dataloader = crops(size_px=224)
dataloader.train.dataset.seed = 2
optimizer.params.lr = 3e-3
train, lr_multiplier = training("MEMatte_T", batch=8, iterations=1_500, decay_share=0.8, freeze_norms_from=0)
