"""AEMatter, from ImageNet's Swin-T."""

from .common.criteria import aematter_criterion as criterion
from .common.models import network
from .common.recipes.aematter import dataloader, lr_multiplier, optimizer, training

model = network("AEMatter")
train = training("AEMatter")
