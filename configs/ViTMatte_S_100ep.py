"""ViTMatte-S on DIM composites, from a plain ViT (DINO)."""

from .common.criterion import vitmatte_criterion as criterion
from .common.data_dim import dataloader
from .common.optim import optimizer
from .common.schedule import schedule
from .common.zoo import network

model = network("ViTMatte_S")
train, lr_multiplier = schedule(
    "ViTMatte_S", images=43_100, batch=2 * 16, epochs=100, decay_epochs=(30, 90), checkpoint_epochs=10
)
