"""DiffMatte with ResNet-34-D, from GCA-Matting's ImageNet model."""

from .common.criteria import diffmatte_criterion as criterion
from .common.data.dim import dataloader
from .common.models import network
from .common.optim import optimizer
from .common.recipes.diffmatte import training

model = network("DiffMatte_Res34")
optimizer.params.lr = 4e-4
optimizer.params.layer_decay = None
train, lr_multiplier = training(
    model, "DiffMatte_Res34", batch=2 * 20, epochs=150, stage2_epoch=100, decay_epochs=(30, 90, 140)
)
