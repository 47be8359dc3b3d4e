"""MEDiffMatte-S: MEMatte's routed ViT-S, DiffMatte's decoder, taught by DiffMatte_ViTS_1024.

Nobody has trained it yet. It starts from its teacher, so the run is as long as that of MEMatte-S, and self-aligned from
its first step.
"""

from .common.criteria import mediffmatte_criterion as criterion
from .common.data.dim import dataloader
from .common.models import encoder, network
from .common.optim import optimizer
from .common.recipes.diffmatte import training

model = network("MEDiffMatte_S")
teacher = encoder("DiffMatte_ViTS_1024")
dataloader.train.dataset.settings.crop.size_px = 1024
optimizer.params.lr = 5e-5
train, lr_multiplier = training(
    model,
    "MEDiffMatte_S",
    batch=4 * 8,
    epochs=30,
    stage2_epoch=0,
    decay_epochs=(6, 26),
    values=(1, 0.1, 0.05),
    checkpoint_epochs=2,
)
