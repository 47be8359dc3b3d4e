"""Drawing with exact alpha: opaque strokes on a fine, averaged grid.

Pictures are premultiplied float32 (H, W, 4) in [0, 1] until they are finished. Blurring such a picture, as a moving or
unsharp lens does, leaves its alpha exact; blurring straight colours would not.
"""

import cv2
import numpy as np

from data.files import quantise

FINE = 3  # cells of the fine grid along each side of a pixel
_SHIFT = 4  # fractional bits of coordinates


class Canvas:
    """Empty picture to draw on; later strokes hide earlier ones.

    It has `height` x `width` pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.cells = np.zeros((height * FINE, width * FINE, 4), np.uint8)  # RGB and 0 or 255

    def curve(self, points: np.ndarray, thickness: float, colour: np.ndarray) -> None:
        """A line through points (N, 2) in pixels (x, y), at least one cell thick."""
        cv2.polylines(
            self.cells, [self._fixed(points)], False, _opaque(colour), max(1, round(thickness * FINE)), shift=_SHIFT
        )

    def polygon(self, points: np.ndarray, colour: np.ndarray) -> None:
        """The inside of a closed outline (N, 2) in pixels (x, y)."""
        cv2.fillPoly(self.cells, [self._fixed(points)], _opaque(colour), shift=_SHIFT)

    def fill(self, outline: np.ndarray, texture: np.ndarray) -> None:
        """The inside of an outline (N, 2) filled with a picture (height, width, 3) uint8."""
        inside = np.zeros(self.cells.shape[:2], np.uint8)
        cv2.fillPoly(inside, [self._fixed(outline)], 255, shift=_SHIFT)
        fine = cv2.resize(texture, (self.width * FINE, self.height * FINE), interpolation=cv2.INTER_LINEAR)
        cv2.copyTo(np.dstack([fine, inside]), inside, self.cells)

    def picture(self) -> np.ndarray:
        """(H, W, 4) premultiplied float32: colour and coverage averaged over the cells of each pixel."""
        cells = self.cells.astype(np.float32) / 255
        return cv2.resize(cells, (self.width, self.height), interpolation=cv2.INTER_AREA)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        """Pixel coordinates as OpenCV's fixed-point cells.

        The centre of a cell is a whole number there.
        """
        return np.rint((np.asarray(points) * FINE - 0.5) * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)


def _opaque(colour: np.ndarray) -> tuple[int, ...]:
    return (*(int(level) for level in colour), 255)


def noise(height: int, width: int, cells: float, rng: np.random.Generator, octaves: int = 1) -> np.ndarray:
    """Smooth noise (H, W) float32 with mean 0 and deviation about 1.

    Args:
        cells: bumps along the longer side, of the coarsest octave.
        octaves: each next one twice as fine and half as strong.
    """
    total, power, side = np.zeros((height, width), np.float32), 0.0, max(height, width)
    for octave in range(octaves):
        pitch = side / (cells * 2**octave)
        grid = rng.standard_normal((max(2, round(height / pitch) + 3), max(2, round(width / pitch) + 3)))
        total += cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
        power += 0.4 / 4**octave  # cubic interpolation leaves about 0.4 of the variance
    return total / np.float32(np.sqrt(power))


def outline(centre: np.ndarray, radius: float, roughness: float, rng: np.random.Generator) -> np.ndarray:
    """A closed random outline (180, 2) about a centre (x, y): a circle whose radius wavers."""
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    waves = sum(
        rng.normal(0, roughness / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi)) for order in range(1, 9)
    )
    stretch = np.exp(rng.normal(0, 0.25))
    reach = radius * np.exp(np.clip(waves, -0.8, 0.4))
    return centre + np.stack([reach * stretch * np.cos(angle), reach / stretch * np.sin(angle)], axis=1)


def inside(height: int, width: int, points: np.ndarray) -> np.ndarray:
    """Coverage (H, W) float32 of the inside of an outline."""
    canvas = Canvas(height, width)
    canvas.polygon(points, np.zeros(3))
    return canvas.picture()[..., 3]


def move(picture: np.ndarray, length: float, angle: float) -> np.ndarray:
    """Blur a premultiplied picture along a line."""
    side = int(np.ceil(length)) | 1
    kernel = np.zeros((side * FINE, side * FINE), np.uint8)
    middle, reach = (side * FINE - 1) / 2, length * FINE / 2
    step = np.array([np.cos(angle), np.sin(angle)]) * reach
    ends = np.rint((middle + np.stack([-step, step])) * (1 << _SHIFT)).astype(np.int32)
    cv2.polylines(kernel, [ends.reshape(-1, 1, 2)], False, 255, FINE, shift=_SHIFT)
    return _filtered(picture, cv2.resize(kernel.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA))


def defocus(picture: np.ndarray, radius: float) -> np.ndarray:
    """Blur a premultiplied picture with a disc, like an unfocused lens."""
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return _filtered(picture, np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32))


def _filtered(picture: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def finished(picture: np.ndarray) -> np.ndarray:
    """Straight uint8 RGBA of a premultiplied picture.

    Where nothing is seen the colour goes on smoothly from its surroundings, so that resizing leaves no halo.
    """
    filled = _spread(picture)
    return quantise(np.dstack([filled, picture[..., 3]]))


def _spread(picture: np.ndarray) -> np.ndarray:
    """Straight colour (H, W, 3), filled in from coarser levels where alpha is small."""
    height, width = picture.shape[:2]
    alpha = picture[..., 3:]
    straight = picture[..., :3] / np.maximum(alpha, 1e-6)
    if min(height, width) < 2:
        return straight
    coarse = cv2.resize(picture, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    below = cv2.resize(_spread(coarse), (width, height), interpolation=cv2.INTER_LINEAR)
    trust = np.clip(alpha * 255, 0, 1)  # one grey level of alpha tells the colour
    return straight * trust + below * (1 - trust)
