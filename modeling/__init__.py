"""Networks and how to run them within a memory budget."""

from modeling.mematte import MEMatte
from modeling.output import MattingOutput
from modeling.predictor import Matte, Predictor
from modeling.vitmatte import ViTMatte

__all__ = ["MEMatte", "Matte", "MattingOutput", "Predictor", "ViTMatte"]
