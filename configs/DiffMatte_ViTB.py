"""DiffMatte with ViT-B, from MAE."""

from .common.criteria import diffmatte_criterion as criterion
from .common.data.dim import dataloader
from .common.models import network
from .common.optim import optimizer
from .common.recipes.diffmatte import training

model = network("DiffMatte_ViTB")
optimizer.params.lr = 2.5e-4
train, lr_multiplier = training(
    model, "DiffMatte_ViTB", batch=2 * 16, epochs=170, stage2_epoch=80, decay_epochs=(30, 90, 140)
)
