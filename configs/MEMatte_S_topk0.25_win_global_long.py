"""MEMatte-S: quarter of tokens in global attention, distilled from ViTMatte-S."""

from .common.criteria import mematte_criterion as criterion
from .common.data.dim import dataloader
from .common.models import encoder, network
from .common.optim import optimizer
from .common.schedule import schedule

model = network("MEMatte_S")
teacher = encoder("ViTMatte_S")
train, lr_multiplier = schedule(
    "MEMatte_S", images=43_100, batch=2 * 16, epochs=30, decay_epochs=(6, 26), checkpoint_epochs=2
)
