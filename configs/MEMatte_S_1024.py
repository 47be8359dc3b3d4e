"""MEMatte-S on 1024-pixel crops, for one GPU of 24 GB.

Four crops at a time, their activations recomputed in the backward pass, are accumulated to the published batch. Nobody
has run it yet: see docs/training.md for an estimate of memory and hours.
"""

from .common.criteria import mematte_criterion as criterion
from .common.data.dim import dataloader
from .common.models import encoder, network
from .common.optim import optimizer
from .common.schedule import schedule

model = network("MEMatte_S")
teacher = encoder("ViTMatte_S")
dataloader.train.dataset.settings.crop.size_px = 1024
train, lr_multiplier = schedule(
    "MEMatte_S_1024", images=43_100, batch=2 * 16, epochs=30, decay_epochs=(6, 26), checkpoint_epochs=2
)
train.update(accumulate=8, checkpoint_activations=True)
