"""ViTMatte-T, second stage: crops of twice the side, which the global blocks need to see, and a rate that falls.

It starts from the first stage: train.init_checkpoint=output/ViTMatte_T/model_final.pth.
"""

from .common.tiny import crops, training
from .ViTMatte_T import criterion, model, optimizer

dataloader = crops(windows=2)
dataloader.train.dataset.seed = 1
optimizer.params.lr = 4e-3
train, lr_multiplier = training("ViTMatte_T_448", batch=2, iterations=1_500, decay_share=0.9, freeze_norms_from=0)
train.update(seed=1)
