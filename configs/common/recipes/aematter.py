"""AEMatter's training recipe, which CheapMatting shares.

The published augmentation differs from that of `common/data/dim.py` in details that are not reproduced: foregrounds are
sometimes enlarged, two of them are also merged side by side, crops that are too small are mirrored rather than
enlarged, one trimap in a hundred is eroded further, alphas are sometimes blurred, and colours are jittered by other
operations, those of the background too. The published real-world augmentation is off here, as it is there:
`dataloader.train.dataset.settings.realworld.probability=0.5` switches it on, in every config.
"""

import torch
from detectron2.config import LazyCall as L

from engine.training.optim import parameter_groups_by_name
from engine.training.schedule import CosineByEpoch

from ..data.dim import dataloader
from ..train import train_settings

EPOCHS, BATCH = 150, 2
ITERATIONS = 82_783 // BATCH  # of an epoch, one pass over COCO's train2014

optimizer = L(torch.optim.RAdam)(
    params=L(parameter_groups_by_name)(
        lr=2.5e-5 * BATCH,
        weight_decay=1e-6,
        spared=["start_conv", "bias", "convo", "conv5", "conv4", "conv3"],
    ),
    betas=(0.5, 0.999),
    eps=1e-8,
    decoupled_weight_decay=True,
)
lr_multiplier = L(CosineByEpoch)(epochs=EPOCHS)
dataloader.train.dataset.settings.shrink_probability = 0.0
dataloader.train.dataset.settings.crop.size_px = 1024


def training(name: str) -> dict:
    """Settings of a run."""
    train = train_settings(name, BATCH, max_iter=EPOCHS * ITERATIONS, checkpoint_period=ITERATIONS)
    train.update(precision="fp32", max_grad_norm=10.0)
    return train
