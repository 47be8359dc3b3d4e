"""Networks and how to run them within a memory budget."""

from modeling.aematter import AEMatter
from modeling.cheapmatting import CheapMatting
from modeling.diffmatte import DiffMatte
from modeling.mediffmatte import MEDiffMatte
from modeling.mematte import MEMatte
from modeling.output import MattingOutput
from modeling.predictor import Matte, Predictor
from modeling.vitmatte import ViTMatte

__all__ = [
    "AEMatter",
    "CheapMatting",
    "DiffMatte",
    "MEDiffMatte",
    "MEMatte",
    "Matte",
    "MattingOutput",
    "Predictor",
    "ViTMatte",
]
