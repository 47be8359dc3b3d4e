"""Natural-image matting in bounded memory: alpha from an image and its trimap.

A trimap says what is certain: 0 background, 255 foreground, 128 unknown. The model estimates how opaque the foreground
is where it is not. MEMatte_T, a small model, is included; the others of `MODELS` are loaded with the file of their
weights, for example `mematte.load("MEMatte_S", "MEMatte_S.pth")`.

Example:
    >>> import numpy as np
    >>> import mematte
    >>> predictor = mematte.load("MEMatte_T", device="cpu")
    >>> image = np.full((64, 96, 3), 200, np.uint8)  # RGB
    >>> image[:, 48:] = 30
    >>> trimap = np.full((64, 96), 128, np.uint8)
    >>> trimap[:, :32], trimap[:, 64:] = 0, 255
    >>> alpha = predictor.predict(image, trimap)
    >>> alpha.shape, alpha.dtype, float(alpha[0, 0]), float(alpha[0, 95])
    ((64, 96), dtype('float32'), 0.0, 1.0)
"""

from .aematter import AEMatter
from .base import MattingOutput
from .cheapmatting import CheapMatting
from .checkpoints.files import CheckpointError
from .diffmatte import DiffMatte
from .foreground import estimate_foreground
from .inference.loading import load
from .inference.predictor import Matte, Predictor
from .mediffmatte import MEDiffMatte
from .mematte import MEMatte
from .vitmatte import ViTMatte
from .zoo import MODELS, build

__version__ = "0.2.0"

__all__ = [
    "MODELS",
    "AEMatter",
    "CheapMatting",
    "CheckpointError",
    "DiffMatte",
    "MEDiffMatte",
    "MEMatte",
    "Matte",
    "MattingOutput",
    "Predictor",
    "ViTMatte",
    "build",
    "estimate_foreground",
    "load",
]
