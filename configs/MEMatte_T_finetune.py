"""MEMatte-T fine-tuned on own cut-outs and photographs, without a teacher.

It takes minutes on a CPU. The run is short and its rate low, falling with depth: larger and more steps made held-out
pictures worse (docs/experiments/fine-tuning.md).

`cutouts/` and `backgrounds/` in the folder of MATTING_DATA; `train.validation_root` may name images to score it on.
"""

from detectron2.config import LazyCall as L

from data.training.sources import BackgroundFolder, CutoutFolder

from .common.criteria import mematte_criterion as criterion
from .common.models import network
from .common.optim import optimizer
from .common.recipes.tiny import DIVERGENCE_WEIGHT, GRADIENT_WEIGHT, crops, training

model = network("MEMatte_T")
model.distill = False
criterion.gradient_weight = GRADIENT_WEIGHT
criterion.divergence_weight = DIVERGENCE_WEIGHT
criterion.per_block = True
dataloader = crops(size_px=448, shrink_px=480)
dataloader.train.dataset.foregrounds = L(CutoutFolder)(root="cutouts")
dataloader.train.dataset.backgrounds = L(BackgroundFolder)(root="backgrounds")
optimizer.params.lr = 2e-5
train, lr_multiplier = training("MEMatte_T_finetune", batch=3, iterations=50, decay_share=0.8, freeze_norms_from=0)
train.update(
    init_checkpoint="weights/MEMatte_T.safetensors",
    validation_root="",
    checkpoint_period=25,
    eval_period=25,
    ema_decay=0.99,
)
