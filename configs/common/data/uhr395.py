"""The 355 training alphas of UHR-395 (24 to 29 megapixels) over COCO backgrounds.

`UHR-395/train` with fg/ and alpha/, and COCO's `train2014`, in the folder that MATTING_DATA names. Decoding a picture
of this size costs many times what a crop of it does, so four samples in a row share it.
"""

from detectron2.config import LazyCall as L

from data.training.sources import ForegroundFolder

from .dim import dataloader

dataloader.train.dataset.foregrounds = L(ForegroundFolder)(root="UHR-395/train")
dataloader.train.dataset.crops_per_foreground = 4
dataloader.train.dataset.cache_mb = 512
