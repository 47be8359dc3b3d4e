"""Steadier mattes of clips, guided by the previous, motion-compensated matte.

Matting frame by frame flickers in hair and at soft edges. Inside the unknown band alpha is drawn towards that of the
frame before, moved along with the object (optical flow DIS, Kroeger et al. 2016, averaged over the object around each
pixel), where this predicts the object's colours. Known pixels stay exact, and each cut starts afresh.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from data.trimap import is_unknown

FLOW_PX = 512  # longer side of the picture that motion is measured on; the next two are pixels of it
MOTION_PX, MATCH_PX = 20.0, 4.0  # deviations of the windows over which motion, and match of colours, are averaged
COLOUR_LEVELS = 20.0  # difference of the object's colours at which the frame before counts by exp(-1)
ALPHA_CHANGE = 0.5  # change of alpha at which it does: larger ones are seldom flicker
CUT_LEVELS = 30.0  # mean difference of colours in the band that means a cut
LEAST_WEIGHT = 1e-3  # of pixels without the object, so that motion is known everywhere


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
        unknown = is_unknown(trimap)
        if self._picture is not None and self._picture.shape == image.shape and unknown.any():
            alpha = self._guided(image, unknown, alpha)
        self._picture, self._alpha = image, alpha
        return alpha

    def _guided(self, image: np.ndarray, unknown: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        height, width = unknown.shape
        size = _reduced_size(height, width)
        small, small_before = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (image, self._picture))
        weight = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA) + LEAST_WEIGHT
        flow = _average(_flow(small, small_before), weight, MOTION_PX)
        predicted = cv2.remap(small_before, _places(flow), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference = cv2.absdiff(small, predicted).mean(axis=2, dtype=np.float32)
        band = cv2.resize(unknown.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        if band.any() and difference[band].mean() > CUT_LEVELS:
            return alpha
        match = np.exp(-((_average(difference, weight, MATCH_PX) / COLOUR_LEVELS) ** 2))
        match = cv2.resize(match, (width, height), interpolation=cv2.INTER_LINEAR)
        flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
        flow *= np.float32([width / size[0], height / size[1]])
        change = cv2.remap(self._alpha, _places(flow), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) - alpha
        steadied = alpha + self.strength * match * np.exp(-((change / ALPHA_CHANGE) ** 2)) * change
        return np.where(unknown, steadied, alpha).astype(np.float32)


def _reduced_size(height: int, width: int) -> tuple[int, int]:
    """Width and height of the picture that motion is measured on."""
    scale = max(1.0, max(height, width) / FLOW_PX)
    return max(round(width / scale), 1), max(round(height / scale), 1)


def _flow(image: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Displacement (h, w, 2) float32 of pixels to the previous picture.

    As x and y.
    """
    if min(image.shape[:2]) < 16:  # too small for the pyramid of the flow
        return np.zeros((*image.shape[:2], 2), np.float32)
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (image, before)]
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)


def _average(values: np.ndarray, weight: np.ndarray, deviation_px: float) -> np.ndarray:
    """Average over a Gaussian window, weighted; (h, w) or (h, w, 2), and (h, w)."""
    total = cv2.GaussianBlur(weight, (0, 0), deviation_px)
    if values.ndim == 3:
        weight, total = weight[..., None], total[..., None]
    return cv2.GaussianBlur(values * weight, (0, 0), deviation_px) / total


def _places(flow: np.ndarray) -> np.ndarray:
    """Places (h, w, 2) that a flow leads to."""
    height, width = flow.shape[:2]
    return flow + np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
