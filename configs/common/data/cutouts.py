"""Own RGBA cut-outs (`cutouts/`) over own photographs (`backgrounds/`) in MATTING_DATA."""

from detectron2.config import LazyCall as L

from data.training.sources import BackgroundFolder, CutoutFolder

from .dim import dataloader

dataloader.train.dataset.foregrounds = L(CutoutFolder)(root="cutouts")
dataloader.train.dataset.backgrounds = L(BackgroundFolder)(root="backgrounds")
