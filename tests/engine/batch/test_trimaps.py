import cv2
import numpy as np

from data.bands import adaptive_trimap
from engine.batch.trimaps import solve
from tests.data.test_bands import disc, hairy, photograph


def test_bands_are_narrower_and_hair_beyond_the_mask_stays_in_them() -> None:
    alpha = hairy()
    image, mask = photograph(alpha), disc(80)
    wide, narrowed = adaptive_trimap(image, mask), adaptive_trimap(image, mask, solve)
    assert (narrowed == 128).sum() < 0.9 * (wide == 128).sum()
    assert (narrowed[wide != 128] == wide[wide != 128]).all()
    soft = (alpha > 12) & (alpha < 243)
    assert (narrowed[soft] == 128).mean() > 0.95


def test_an_object_that_the_mask_misses_by_some_pixels_is_decided_rightly() -> None:
    alpha = cv2.GaussianBlur(disc(80), (0, 0), 1.5)
    image, mask = photograph(alpha), np.roll(disc(80), 6, axis=1)
    trimap = adaptive_trimap(image, mask, solve)
    known = trimap != 128
    assert np.abs(trimap.astype(float) - alpha)[known].max() < 26
    assert (trimap == 128).mean() < 0.9 * (adaptive_trimap(image, mask) == 128).mean()
