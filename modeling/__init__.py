"""Networks and how to run them within a memory budget."""

from .aematter import AEMatter
from .base import MattingOutput
from .cheapmatting import CheapMatting
from .diffmatte import DiffMatte
from .inference.predictor import Matte, Predictor
from .mediffmatte import MEDiffMatte
from .mematte import MEMatte
from .vitmatte import ViTMatte

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
