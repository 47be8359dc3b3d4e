"""Trimaps for photographs that have none: from a mask, or from boxes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.bands import FOLLOWS, Band
from data.deciding import Solve
from data.files import FileError
from data.masks import MaskKind, read_mask
from data.selections import Box, mask_from_boxes


@dataclass(frozen=True)
class Guidance:
    """Settings of trimaps made from masks and boxes.

    Attributes:
        kind: of mask files, see `read_mask`.
        band: width of the unknown band.
        boxes: around the objects, for photographs without a mask.
    """

    kind: MaskKind = "auto"
    band: Band = FOLLOWS
    boxes: tuple[Box, ...] = ()

    def trimap(self, image: np.ndarray, mask: Path | None, solve: Solve | None = None) -> np.ndarray:
        """Trimap (H, W) of an image, from a mask file or boxes.

        The boxes count where there is no mask; `solve` as for `Band.trimap`.

        Raises:
            ValueError: the mask cannot be read, is empty or of another shape, or a box holds no object.
        """
        if mask is None:
            return self.band.trimap(image, mask_from_boxes(image, self.boxes), solve)
        values = read_mask(mask, self.kind, size=image.shape[:2])
        if not values.any():
            raise FileError(f"{mask}: the mask is empty, there is no object in it")
        return self.band.trimap(image, values, solve)
