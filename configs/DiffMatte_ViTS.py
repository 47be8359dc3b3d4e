"""DiffMatte with ViT-S, from DINO."""

from .common.criteria import diffmatte_criterion as criterion
from .common.data.dim import dataloader
from .common.models import network
from .common.optim import optimizer
from .common.recipes.diffmatte import training

model = network("DiffMatte_ViTS")
optimizer.params.lr = 5e-5
train, lr_multiplier = training(
    model, "DiffMatte_ViTS", batch=2 * 16, epochs=150, stage2_epoch=100, decay_epochs=(30, 90), values=(1, 0.1, 0.05)
)
