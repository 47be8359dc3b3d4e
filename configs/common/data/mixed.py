"""Mixed foregrounds for photographs: DIM, UHR-395 and own cut-outs (`cutouts/`)."""

from detectron2.config import LazyCall as L

from data.training.sources import CutoutFolder, ForegroundFolder, MixedForegrounds

from .dim import dataloader

dataloader.train.dataset.foregrounds = L(MixedForegrounds)(
    sources=[
        L(ForegroundFolder)(root="DIM"),
        L(ForegroundFolder)(root="UHR-395/train"),
        L(CutoutFolder)(root="cutouts"),
    ],
    weights=[0.5, 0.3, 0.2],
)
dataloader.train.dataset.crops_per_foreground = 2
