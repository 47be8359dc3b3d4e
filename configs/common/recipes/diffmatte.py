"""DiffMatte's networks around each encoder, and their training.

The authors released configs but no training script. Published: batches, epochs, rates and their milestones, weight and
layer decay, warm-up, seed, full precision, the five losses, where stage 2 starts. Inferred, here and in the configs:

* Until stage 2 training is plain. Their stage 1 starts at "epoch" 1000, which no run reaches.
* All losses have weight 1. The alignment losses that their code also contains are off in all of their configs.
* Rates of a ViT fall with depth. Their rule looks for names that start with "backbone"; whether it saw them is unknown.
* Rates of Res34 and SwinT do not: the rule does nothing for the first, and block numbers of a Swin start anew in every
  stage.
* Crops of 512 px but for ViTS_1024. Their common data config says 1024 for all; names and tables of relative positions
  say 512.
"""

from engine.training.schedule import iterations

from ..schedule import schedule

IMAGES = 43_100  # in what the authors call an epoch


def training(
    model,
    name: str,
    batch: int,
    epochs: int,
    stage2_epoch: int,
    decay_epochs: tuple[int, ...],
    values: tuple[float, ...] = (1, 0.1, 0.05, 0.01),
    checkpoint_epochs: int = 10,
):
    """Settings of a run and its multiplier; sets `model`'s second stage.

    Arguments as for `schedule`.
    """
    train, lr_multiplier = schedule(name, IMAGES, batch, epochs, decay_epochs, checkpoint_epochs, values)
    train.update(precision="fp32", seed=8282)
    model.self_align_stage2_step = iterations(IMAGES, batch, stage2_epoch)
    return train, lr_multiplier
