"""Free material: cut-outs of games and drawing programs, drawn foregrounds, and photographs, all by
tools/prepare_free_set.py in the folder of MATTING_DATA. Weights keep the many plants from prevailing.
"""

from detectron2.config import LazyCall as L

from data.training.augment import ColourMatchSettings, DefocusSettings
from data.training.realworld import RealWorldSettings
from data.training.sources import BackgroundFolder, CutoutFolder, MixedForegrounds

from .dim import dataloader

WEIGHTS = [  # folder, beginnings of the files' names, share of the samples
    ("drawn", ["hair", "fur"], 0.18),
    ("drawn", ["net", "lace"], 0.08),
    ("drawn", ["grass", "leaves", "torn"], 0.10),
    ("drawn", ["smoke", "glass"], 0.07),
    ("drawn", ["solid"], 0.07),
    ("cutouts", ["tuxpaint"], 0.20),  # photographed animals, food, objects
    ("cutouts", ["wesnoth"], 0.12),  # painted people and animals
    (
        "cutouts",
        ["0ad", "flightgear", "megaglest", "stk", "trigger", "torcs", "eztree", "etr", "nexuiz", "opencity"],
        0.13,
    ),
    ("cutouts", ["freeorion", "naev"], 0.03),  # smoke and light
    ("cutouts", ["redeclipse", "stellarium", "ufoai"], 0.02),
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
dataset.settings.shrink_probability = 0.5
dataset.settings.shrink_px = 288
dataset.settings.trimap.hide_probability = 0.4
dataset.settings.trimap.max_hidden_px = 160
dataset.settings.defocus = L(DefocusSettings)(probability=0.4, max_blur_px=6.0)
dataset.settings.colour_match = L(ColourMatchSettings)(probability=0.2, max_amount=0.9)
dataset.settings.realworld = L(RealWorldSettings)(
    probability=0.3, max_jpeg_compression=50.0, max_blur_px=1.2, max_noise=15.0
)
dataloader.train.num_workers = 2
