"""Trimaps of masks, their bands narrowed by the closed form."""

import numpy as np
import torch

from modeling.closed_form.solver import closed_form


def solve(image: np.ndarray, trimap: np.ndarray, mask: np.ndarray, hold: np.ndarray) -> np.ndarray:
    """Closed-form alpha held to a mask, on the CPU; see `data.deciding.Solve`."""
    picture = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    levels, rough, weight = (torch.from_numpy(part)[None, None].float() for part in (trimap, mask, hold))
    return closed_form(picture, levels / 255, held=(rough / 255, weight))[0, 0].numpy()
