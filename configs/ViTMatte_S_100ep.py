"""ViTMatte-S on DIM composites, from a plain ViT (DINO)."""

from .common.criteria import vitmatte_criterion as criterion
from .common.data.dim import dataloader
from .common.models import network
from .common.optim import optimizer
from .common.schedule import schedule

model = network("ViTMatte_S")
train, lr_multiplier = schedule(
    "ViTMatte_S", images=43_100, batch=2 * 16, epochs=100, decay_epochs=(30, 90), checkpoint_epochs=10
)
