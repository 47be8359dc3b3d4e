"""DiffMatte with ViT-B, from MAE."""

from .common.criterion import diffmatte_criterion as criterion
from .common.data_dim import dataloader
from .common.diffmatte import diffmatte_vit, training
from .common.optim import optimizer

model = diffmatte_vit(embed_dim=768, num_heads=12)
optimizer.params.lr = 2.5e-4
train, lr_multiplier = training(
    model, "DiffMatte_ViTB", batch=2 * 16, epochs=170, stage2_epoch=80, decay_epochs=(30, 90, 140)
)
