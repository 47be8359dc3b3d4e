"""MEMatte-B: quarter of tokens in global attention, distilled from ViTMatte-B."""

from .common.criteria import mematte_criterion as criterion
from .common.data.dim import dataloader
from .common.models import encoder, network
from .common.optim import optimizer
from .common.schedule import schedule

model = network("MEMatte_B")
teacher = encoder("ViTMatte_B")
train, lr_multiplier = schedule(
    "MEMatte_B", images=43_100, batch=4 * 10, epochs=60, decay_epochs=(30, 52), checkpoint_epochs=4
)
