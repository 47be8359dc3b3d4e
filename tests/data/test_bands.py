import cv2
import numpy as np
import pytest

from data.bands import Band, adaptive_trimap, to_frame
from data.masks import Width, trimap_from_mask

SIDE = 320
CENTRE = (160, 160)


def disc(radius: int) -> np.ndarray:
    return cv2.circle(np.zeros((SIDE, SIDE), np.uint8), CENTRE, radius, 255, -1)


def photograph(alpha: np.ndarray) -> np.ndarray:
    """A brown object over a green meadow, both with noise."""
    rng = np.random.default_rng(0)
    share = alpha[..., None].astype(np.float32) / 255
    picture = share * np.array([150, 90, 50]) + (1 - share) * np.array([60, 140, 70])
    return np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)


def hairy() -> np.ndarray:
    """A disc with hair of 22 px on its right half."""
    alpha = disc(80)
    rng = np.random.default_rng(1)
    for angle in rng.uniform(-1.4, 1.4, 260):
        ends = [(round(160 + r * np.cos(angle)), round(160 + r * np.sin(angle))) for r in (75, 102)]
        cv2.line(alpha, *ends, 255, 1, cv2.LINE_AA)
    return alpha


def reach(trimap: np.ndarray, dx: int) -> int:
    """Unknown pixels outside the disc, on one side of its centre line.

    The radius is 80; the side is left (-1) or right (1).
    """
    line = trimap[160, 160::dx]
    return int((line[80:] == 128).sum())


def test_the_band_is_narrow_at_hard_edges_and_wide_in_hair() -> None:
    alpha = hairy()
    trimap = adaptive_trimap(photograph(alpha), disc(80))
    assert reach(trimap, -1) <= 12
    assert reach(trimap, 1) >= 20
    soft = (alpha > 12) & (alpha < 243)
    assert (trimap[soft] == 128).mean() > 0.98


def test_the_band_reaches_the_true_edge_of_a_badly_drawn_mask() -> None:
    alpha = disc(80)
    trimap = adaptive_trimap(photograph(alpha), np.roll(alpha, 8, axis=1))
    wrong = (trimap != 128) & (trimap != alpha)
    assert wrong.sum() < 0.01 * np.count_nonzero(alpha)
    assert (trimap == 128).mean() < 0.25


def test_an_object_of_the_colours_of_its_surroundings_keeps_a_middle() -> None:
    trimap = adaptive_trimap(photograph(np.zeros((SIDE, SIDE), np.uint8)), disc(120))
    assert (trimap[disc(120) == 255] == 255).mean() > 0.2


def test_colours_that_do_not_tell_give_a_band_of_medium_width() -> None:
    grey = np.full((SIDE, SIDE, 3), 120, np.uint8)
    assert 8 <= reach(adaptive_trimap(grey, disc(80)), -1) <= 20


@pytest.mark.parametrize("radius", [3, 9, 150])
def test_the_band_is_never_empty_and_never_swallows_the_object(radius: int) -> None:
    trimap = adaptive_trimap(photograph(disc(radius)), disc(radius))
    assert set(np.unique(trimap)) == {0, 128, 255}


@pytest.mark.parametrize("level", [0, 255, 77])
def test_plain_masks_have_no_edge(level: int) -> None:
    trimap = adaptive_trimap(photograph(disc(80)), np.full((SIDE, SIDE), level, np.uint8))
    assert (trimap == (128 if level == 77 else level)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (40, 700)])
def test_odd_sizes_keep_their_size(size: tuple[int, int]) -> None:
    values = np.zeros(size, np.uint8)
    values[:, : size[1] // 2] = 255
    trimap = adaptive_trimap(np.zeros((*size, 3), np.uint8), values)
    assert trimap.shape == size
    assert set(np.unique(trimap)) <= {0, 128, 255}


def test_masks_that_end_before_the_frame_reach_it() -> None:
    values = np.zeros((SIDE, SIDE), np.uint8)
    values[100:317, 100:200] = 255
    assert (to_frame(values)[317:, 100:200] == 255).all()
    trimap = adaptive_trimap(photograph(to_frame(values)), values)
    assert trimap[-1, 150] == 255
    values[:] = 0
    values[100:300, 100:200] = 255
    assert np.array_equal(to_frame(values), values)


def test_soft_values_stay_unknown() -> None:
    values = disc(80)
    values[150:170, 150:170] = 77
    assert (adaptive_trimap(photograph(disc(80)), values)[150:170, 150:170] == 128).all()


def test_widths_are_automatic_or_fixed_per_side() -> None:
    image, mask = photograph(hairy()), disc(80)
    assert Band.parse() == Band.parse("auto") == Band(None, None)
    assert Band.parse("9", inner="2%") == Band(Width(0.02, True), Width(9))
    assert Band.parse("9", outer="auto") == Band(Width(9), None)
    fixed = Band.parse("9").trimap(image, mask)
    assert np.array_equal(fixed, trimap_from_mask(mask, Width(9), Width(9)))
    automatic, mixed = Band().trimap(image, mask), Band.parse(inner="9").trimap(image, mask)
    assert np.array_equal(mixed == 255, fixed == 255)
    assert np.array_equal(mixed == 0, automatic == 0)
    with pytest.raises(ValueError, match="'wide' is no width"):
        Band.parse("wide")


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="resize the mask first"):
        adaptive_trimap(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8))
