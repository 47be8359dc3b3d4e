"""CheapMatting, by AEMatter's recipe: its own was never published, and this is not what its weights were made with."""

from detectron2.config import LazyCall as L

from modeling.cheapmatting import CheapMatting

from .common.aematter import dataloader, lr_multiplier, optimizer, training
from .common.criterion import aematter_criterion as criterion

model = L(CheapMatting)()
train = training("CheapMatting")
