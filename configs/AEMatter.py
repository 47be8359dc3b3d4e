"""AEMatter, from ImageNet's Swin-T."""

from detectron2.config import LazyCall as L

from modeling.aematter import AEMatter

from .common.aematter import dataloader, lr_multiplier, optimizer, training
from .common.criterion import aematter_criterion as criterion

model = L(AEMatter)(drop_path=0.2, decoder_drop_path=(0.09, 0.07, 0.05, 0.03), dropout=0.2)
train = training("AEMatter")
