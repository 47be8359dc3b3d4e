"""CheapMatting, by AEMatter's recipe: its own was never published, and this is not what its weights were made with."""

from .common.criteria import aematter_criterion as criterion
from .common.models import network
from .common.recipes.aematter import dataloader, lr_multiplier, optimizer, training

model = network("CheapMatting")
train = training("CheapMatting")
