"""CheapMatting, by AEMatter's recipe: its own was never published, and this is not what its weights were made with."""

from .common.aematter import dataloader, lr_multiplier, optimizer, training
from .common.criterion import aematter_criterion as criterion
from .common.zoo import network

model = network("CheapMatting")
train = training("CheapMatting")
