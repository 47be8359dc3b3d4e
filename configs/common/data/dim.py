"""The published training data: Deep Image Matting's foregrounds over COCO backgrounds.

`Combined_Dataset/Training_set` of DIM (fg/ and alpha/) and COCO's `train2014`, in the folder that MATTING_DATA names.
"""

from detectron2.config import LazyCall as L
from omegaconf import OmegaConf

from data.training.augment import AffineSettings, CropSettings, JitterSettings
from data.training.crops import CompositionSettings
from data.training.datasets import MattingDataset, build_train_loader
from data.training.realworld import RealWorldSettings
from data.training.sources import BackgroundFolder, ForegroundFolder
from data.trimap import TrimapSettings

dataloader = OmegaConf.create()
dataloader.train = L(build_train_loader)(
    dataset=L(MattingDataset)(
        foregrounds=L(ForegroundFolder)(root="DIM"),
        backgrounds=L(BackgroundFolder)(root="train2014"),
        settings=L(CompositionSettings)(
            merge_probability=0.5,
            shrink_probability=0.25,
            affine=L(AffineSettings)(max_angle_deg=30.0, min_scale=0.8, max_scale=1.25, max_shear_deg=10.0),
            trimap=L(TrimapSettings)(side_px=640, min_kernel_px=1, max_kernel_px=29),
            crop=L(CropSettings)(size_px=512),
            jitter=L(JitterSettings)(max_hue_deg=40, strength=0.1),
            realworld=L(RealWorldSettings)(probability=0.0),
        ),
        seed=0,
        crops_per_foreground=1,
    ),
    num_workers=4,
)
