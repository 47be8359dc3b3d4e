"""Trimaps from masks: width of the band, sides kept, small parts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling.inference import masks
from modeling.inference.masks import trimap_from_mask


def disc(side: int, radius: float) -> torch.Tensor:
    rows, cols = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return 255 * ((rows - side // 2) ** 2 + (cols - side // 2) ** 2 <= radius**2).to(torch.uint8)


def test_the_band_is_a_share_of_the_object() -> None:
    mask = disc(301, 100)
    width = masks.BAND * int((mask > 0).sum()) ** 0.5
    row = trimap_from_mask(mask)[150]
    foreground, unknown = (row == 255).nonzero().flatten(), (row == 128).nonzero().flatten()
    assert abs(foreground[-1] - foreground[0] - 2 * (100 - width)) <= 2
    assert abs(unknown[-1] - unknown[0] - 2 * (100 + width)) <= 2


def test_the_border_of_the_picture_is_no_edge() -> None:
    mask = torch.zeros(60, 80, dtype=torch.uint8)
    mask[:, :40] = 255
    trimap = trimap_from_mask(mask)
    assert (trimap[:, :36] == 255).all() and (trimap[:, 44:] == 0).all() and (trimap[:, 38:42] == 128).all()


def test_small_objects_and_holes_keep_a_middle_and_thin_parts_do_not() -> None:
    mask = torch.zeros(400, 400, dtype=torch.uint8)
    mask[60:300, 60:300] = 255
    mask[160:172, 160:172] = 0  # a hole
    mask[370:382, 370:382] = 255  # a small object
    mask[100:102, 300:330] = 255  # a thin part
    trimap = trimap_from_mask(mask)
    assert trimap[165, 165] == 0 and trimap[375, 375] == 255
    assert (trimap[100:102, 302:320] == 128).all()


def test_large_masks_are_made_in_cells_that_never_change_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = disc(257, 80)
    exact = trimap_from_mask(mask)
    monkeypatch.setattr(masks, "_SIDE_PX", 64)
    coarse = trimap_from_mask(mask)
    assert coarse.shape == exact.shape
    assert (mask[coarse == 255] == 255).all() and (mask[coarse == 0] == 0).all()
    assert ((coarse != 128) & (exact != 128)).float().mean() > 0.8


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6))
def test_nothing_changes_sides(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = torch.from_numpy(rng.choice(np.uint8([0, 255]), (height, width), p=[0.3, 0.7]))
    if mask.min() == mask.max():
        with pytest.raises(ValueError, match="there is no edge to refine"):
            trimap_from_mask(mask)
        return
    trimap = trimap_from_mask(mask)
    assert (mask[trimap == 255] == 255).all() and (mask[trimap == 0] == 0).all()
