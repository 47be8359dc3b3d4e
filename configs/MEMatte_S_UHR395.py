"""MEMatte-S on the 355 training alphas of UHR-395."""

from .common.criteria import mematte_criterion as criterion
from .common.data.uhr395 import dataloader
from .common.models import encoder, network
from .common.optim import optimizer
from .common.schedule import schedule

model = network("MEMatte_S")
teacher = encoder("ViTMatte_S")
train, lr_multiplier = schedule(
    "MEMatte_S_UHR395", images=43_100, batch=2 * 16, epochs=30, decay_epochs=(6, 26), checkpoint_epochs=2
)
