"""AdamW with rates that fall with depth; `engine.training.session` adds the model."""

import torch
from detectron2.config import LazyCall as L

from engine.training.optim import parameter_groups

optimizer = L(torch.optim.AdamW)(
    params=L(parameter_groups)(lr=5e-4, weight_decay=0.1, layer_decay=0.65),
    betas=(0.9, 0.999),
    eps=1e-8,
)
