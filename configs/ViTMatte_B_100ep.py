"""ViTMatte-B on DIM composites, from a plain ViT (MAE)."""

from .common.criteria import vitmatte_criterion as criterion
from .common.data.dim import dataloader
from .common.models import network
from .common.optim import optimizer
from .common.schedule import schedule

model = network("ViTMatte_B")
train, lr_multiplier = schedule(
    "ViTMatte_B", images=43_100, batch=2 * 10, epochs=100, decay_epochs=(30, 90), checkpoint_epochs=10
)
