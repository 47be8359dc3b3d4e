"""Free material: rendered and drawn foregrounds, cut-outs of games, photographs.

tools/prepare_free_set.py puts all of it into the folder of MATTING_DATA.
"""

from detectron2.config import LazyCall as L

from data.training.augment import ColourMatchSettings, DefocusSettings
from data.training.realworld import RealWorldSettings
from data.training.sources import BackgroundFolder, CutoutFolder, MixedForegrounds

from .dim import dataloader

WEIGHTS = [  # folder, beginnings of the files' names, share of the samples
    ("rendered", ["long", "short", "curly", "wispy", "blowing", "tied", "locks", "lashes"], 0.22),
    ("rendered", ["fur", "tufts", "animal", "down", "brush"], 0.14),
    ("rendered", ["net", "knit", "lace", "basket", "fence", "spokes", "yarn"], 0.08),
    ("rendered", ["feather", "grass"], 0.04),
    ("rendered", ["smoke", "spray", "glass", "bubbles", "veil"], 0.06),
    ("rendered", ["solid"], 0.02),
    ("drawn", ["hair", "fur"], 0.05),
    ("drawn", ["net", "lace"], 0.03),
    ("drawn", ["grass", "leaves", "torn"], 0.05),
    ("drawn", ["smoke", "glass"], 0.03),
    ("drawn", ["solid"], 0.02),
    ("cutouts", ["tuxpaint"], 0.12),  # photographed animals, food, objects
    ("cutouts", ["wesnoth"], 0.05),  # painted people and animals
    (
        "cutouts",
        ["0ad", "flightgear", "megaglest", "stk", "trigger", "torcs", "eztree", "etr", "nexuiz", "opencity"],
        0.07,
    ),
    ("cutouts", ["freeorion", "naev"], 0.01),  # smoke and light
    ("cutouts", ["redeclipse", "stellarium", "ufoai"], 0.01),
]

dataset = dataloader.train.dataset
dataset.foregrounds = L(MixedForegrounds)(
    sources=[L(CutoutFolder)(root=folder, patterns=[f"{name}_*" for name in names]) for folder, names, _ in WEIGHTS],
    weights=[weight for _, _, weight in WEIGHTS],
)
dataset.backgrounds = L(BackgroundFolder)(root="backgrounds")
dataset.length = 20_000
dataset.crops_per_foreground = 2
dataset.settings.merge_probability = 0.1
dataset.settings.shrink_probability = 0.35
dataset.settings.affine.update(min_scale=0.7, max_scale=1.4)
dataset.settings.trimap.hide_probability = 0.4
dataset.settings.trimap.max_hidden_px = 160
dataset.settings.defocus = L(DefocusSettings)(probability=0.4, max_blur_px=6.0)
dataset.settings.colour_match = L(ColourMatchSettings)(probability=0.4, max_amount=0.9)
dataset.settings.realworld = L(RealWorldSettings)(
    probability=0.4, max_jpeg_compression=50.0, max_blur_px=1.2, max_noise=12.0
)
dataloader.train.num_workers = 2
