"""Shared parts of the tiny models: data, optimiser and schedule.

They, or those that they were warmed up from, started from random weights, where most of the settings come from
(docs/experiments/tiny-models-1.md has figures): attention begins as in pretrained transformers, a norm follows the last
block (without one the features grew to a variance of 1000 and swamped the image's details in the decoder), and matrices
learn by Muon, with a bound on attention logits. With so few crops a batch the network soon leans on each batch's own
statistics, which it does not have when it is used, so the batch norms are frozen early. Windows are half as wide as in
the larger models: crops are small, and in a single window global attention would see no more than any block does.
"""

from detectron2.config import LazyCall as L

from engine.training.muon import Muon, muon_groups
from engine.training.schedule import warm_stable_decay

from ..data.free import dataloader
from ..train import train_settings

GRADIENT_WEIGHT = 0.05
DIVERGENCE_WEIGHT = 0.3  # of decoders that start from the closed-form alpha

optimizer = L(Muon)(params=L(muon_groups)(lr=6e-3, weight_decay=0.05))


def crops(size_px: int, shrink_px: int):
    """The data with these sides of crops and of shrunk pictures."""
    dataloader.train.dataset.settings.crop.size_px = size_px
    dataloader.train.dataset.settings.shrink_px = shrink_px
    return dataloader


def training(name: str, batch: int, iterations: int, decay_share: float, freeze_norms_from: int):
    train = train_settings(name, batch, iterations, checkpoint_period=250)
    train.update(
        max_grad_norm=1.0,
        max_logit_std=1.0,
        eval_period=1000,
        max_checkpoints=3,
        validation_root="validation",
        freeze_norms_from=freeze_norms_from,
    )
    schedule = L(warm_stable_decay)(max_iter="${train.max_iter}", warmup_iters=100, decay_share=decay_share)
    return train, schedule
