"""Steadier mattes of clips: the matte of the frame before, moved along with the picture, as a guide.

Matting frame by frame flickers in hair and at soft edges. Inside the unknown band, and where the frame before, moved by
optical flow (DIS, Kroeger et al. 2016), predicts the colours of this one, alpha is drawn towards that of the frame
before. Known pixels stay exact, and at a cut the clip begins anew.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from data.trimap import UNKNOWN

FLOW_PX = 512  # longer side of the picture that motion is measured on
COLOUR_LEVELS = 10.0  # difference of colours at which a pixel of the frame before counts by exp(-1)
ALPHA_CHANGE = 0.25  # change of alpha at which it counts by exp(-1): larger ones are seldom flicker
CUT_LEVELS = 30.0  # mean difference of colours in the band that means a cut


@dataclass
class Steady:
    """Alpha of one frame after another; keeps the frame before.

    Attributes:
        strength: share of the frame before where it predicts this one exactly, from 0 to less than 1.
    """

    strength: float
    _picture: np.ndarray | None = field(default=None, init=False, repr=False)
    _alpha: np.ndarray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.strength < 1:
            raise ValueError(f"strength {self.strength} is out of range: give 0 to less than 1, for example 0.7")

    def __call__(self, image: np.ndarray, trimap: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """Steadied alpha of the next frame.

        Args:
            image: (H, W, 3) uint8.
            trimap: (H, W) uint8 of 0, 128, 255.
            alpha: (H, W) float32 in [0, 1]; of this frame alone.

        Returns:
            (H, W) float32; `alpha` where the trimap is known.
        """
        unknown = trimap == UNKNOWN
        if self._picture is not None and self._picture.shape == image.shape and unknown.any():
            alpha = self._guided(image, unknown, alpha)
        self._picture, self._alpha = image, alpha
        return alpha

    def _guided(self, image: np.ndarray, unknown: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        moved = _backwards(image, self._picture)
        before, picture = (
            cv2.remap(values, moved, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for values in (self._alpha, self._picture)
        )
        difference = cv2.blur(cv2.absdiff(image, picture).mean(axis=2, dtype=np.float32), (3, 3))
        if difference[unknown].mean() > CUT_LEVELS:
            return alpha
        change = before - alpha
        weight = np.exp(-((difference / COLOUR_LEVELS) ** 2) - (change / ALPHA_CHANGE) ** 2)
        return np.where(unknown, alpha + self.strength * weight * change, alpha)


def _backwards(image: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Places (H, W, 2) float32, as x and y, in the frame before that the pixels of this one come from."""
    height, width = image.shape[:2]
    scale = max(1.0, max(height, width) / FLOW_PX)
    size = max(round(width / scale), 1), max(round(height / scale), 1)
    grey = [
        cv2.cvtColor(cv2.resize(x, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) for x in (image, before)
    ]
    if min(size) < 16:  # too small for the pyramid of the flow
        flow = np.zeros((*size[::-1], 2), np.float32)
    else:
        flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)
    flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) * np.float32(
        [width, height] / np.array(size)
    )
    places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    return (places + flow).astype(np.float32)
