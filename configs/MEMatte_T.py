"""MEMatte-T: a quarter of ViT-Tiny's tokens in global attention; distilled from ViTMatte-T on free material."""

from detectron2.config import LazyCall as L

from modeling.mematte import MEMatte

from .common.criterion import mematte_criterion as criterion
from .common.tiny import GRADIENT_WEIGHT, crops, decoder, encoder, optimizer, training

model = L(MEMatte)(backbone=encoder(routed=True), decoder=decoder(), distill=True)
teacher = encoder(routed=False)
criterion.gradient_weight = GRADIENT_WEIGHT
criterion.distill_weight = 1e-3  # no norm follows the teacher's last block: its features have a variance of about 1000
criterion.ratio_weight = 50.0
dataloader = crops(windows=2)
optimizer.params.lr = 5e-4
train, lr_multiplier = training("MEMatte_T", batch=2, iterations=6_000, freeze_norms_from=0)
