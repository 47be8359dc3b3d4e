"""AEMatter, from ImageNet's Swin-T."""

from .common.aematter import dataloader, lr_multiplier, optimizer, training
from .common.criterion import aematter_criterion as criterion
from .common.zoo import network

model = network("AEMatter")
train = training("AEMatter")
