"""DiffMatte with ViT-B, from MAE."""

from .common.criterion import diffmatte_criterion as criterion
from .common.data_dim import dataloader
from .common.diffmatte import training
from .common.optim import optimizer
from .common.zoo import network

model = network("DiffMatte_ViTB")
optimizer.params.lr = 2.5e-4
train, lr_multiplier = training(
    model, "DiffMatte_ViTB", batch=2 * 16, epochs=170, stage2_epoch=80, decay_epochs=(30, 90, 140)
)
