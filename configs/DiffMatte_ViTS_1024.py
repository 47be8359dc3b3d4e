"""DiffMatte with ViT-S, trained on crops of 1024 pixels, from DINO."""

from .common.criteria import diffmatte_criterion as criterion
from .common.data.dim import dataloader
from .common.models import network
from .common.optim import optimizer
from .common.recipes.diffmatte import training

model = network("DiffMatte_ViTS_1024")
dataloader.train.dataset.settings.crop.size_px = 1024
optimizer.params.lr = 5e-5
train, lr_multiplier = training(
    model, "DiffMatte_ViTS_1024", batch=4 * 8, epochs=200, stage2_epoch=100, decay_epochs=(60, 110, 170)
)
