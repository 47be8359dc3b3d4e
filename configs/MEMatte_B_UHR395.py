"""MEMatte-B on the 355 training alphas of UHR-395."""

from .common.criteria import mematte_criterion as criterion
from .common.data.uhr395 import dataloader
from .common.models import encoder, network
from .common.optim import optimizer
from .common.schedule import schedule

model = network("MEMatte_B")
teacher = encoder("ViTMatte_B")
train, lr_multiplier = schedule(
    "MEMatte_B_UHR395", images=43_100, batch=4 * 10, epochs=60, decay_epochs=(30, 52), checkpoint_epochs=4
)
