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
criterion.per_block = True
dataloader = crops(windows=1)
dataloader.train.dataset.seed = 2
optimizer.params.lr = 2e-3
train, lr_multiplier = training("MEMatte_T", batch=8, iterations=650, decay_share=0.9, freeze_norms_from=0)
