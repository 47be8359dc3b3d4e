"""What the tiny models and their runs share: ViT-Tiny, a decoder of half the width, a schedule that can be lengthened.

They start from random weights: the rate does not fall with depth, batches are small and the rate high, since at first
the number of steps counts. With so few crops a batch the network soon leans on each batch's own statistics, which it
does not have when it is used (SAD 20.6 with running statistics, 16.5 with an image's own, measured after 8,000 steps),
so the norms are frozen early. Crops are whole windows (14 x 16 pixels) wide, which leaves no padded tokens to compute.
"""

from detectron2.config import LazyCall as L

from engine.schedule import warm_stable_decay

from .data_free import dataloader
from .optim import optimizer
from .train import train_settings
from .vit import backbone, narrow_decoder

EMBED_DIM, NUM_HEADS, WINDOW_PX = 192, 3, 14 * 16
GRADIENT_WEIGHT = 0.05

optimizer.params.lr = 2e-3
optimizer.params.layer_decay = 1.0
optimizer.params.weight_decay = 0.05


def encoder(routed: bool):
    return backbone(EMBED_DIM, NUM_HEADS, routed)


def decoder():
    return narrow_decoder(EMBED_DIM)


def crops(windows: int):
    """The data with crops of so many windows a side."""
    dataloader.train.dataset.settings.crop.size_px = windows * WINDOW_PX
    return dataloader


def training(name: str, batch: int, iterations: int, freeze_norms_from: int):
    train = train_settings(name, batch, iterations, checkpoint_period=500)
    train.update(precision="bf16", max_grad_norm=1.0, eval_period=2000, max_checkpoints=3, validation_root="validation",
                 freeze_norms_from=freeze_norms_from)  # fmt: skip
    schedule = L(warm_stable_decay)(max_iter="${train.max_iter}", warmup_iters=200, decay_share=0.4)
    return train, schedule
