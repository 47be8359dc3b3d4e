"""MEMatte-S fine-tuned on own RGBA cut-outs, without a teacher.

A short run at a tenth of the rate.
"""

from .common.criteria import mematte_criterion as criterion
from .common.data.cutouts import dataloader
from .common.models import network
from .common.optim import optimizer
from .common.schedule import schedule

model = network("MEMatte_S")
model.distill = False
optimizer.params.lr = 5e-5
train, lr_multiplier = schedule(
    "MEMatte_S_finetune", images=16_000, batch=16, epochs=10, decay_epochs=(6, 9), checkpoint_epochs=1
)
train["init_checkpoint"] = "???"  # any MEMatte-S; a run without it is refused
