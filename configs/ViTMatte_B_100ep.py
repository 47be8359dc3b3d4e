"""ViTMatte-B on DIM composites, from a plain ViT (MAE)."""

from .common.criterion import vitmatte_criterion as criterion
from .common.data_dim import dataloader
from .common.optim import optimizer
from .common.schedule import schedule
from .common.zoo import network

model = network("ViTMatte_B")
train, lr_multiplier = schedule(
    "ViTMatte_B", images=43_100, batch=2 * 10, epochs=100, decay_epochs=(30, 90), checkpoint_epochs=10
)
