"""Fast composition against the published order: equal pixels and statistics."""

import cv2
import numpy as np
import pytest

from data.training import crops
from data.training.crops import (
    CompositionSettings,
    Layer,
    blend,
    draw_geometry,
    leaves_background,
    merge_foregrounds,
    plan_crop,
    render_crop,
    union_alpha,
    warp_alpha,
)
from data.training.warp import decode_reduction, read_upright, resize_matrix, source_window, translation, warp
from data.trimap import UNKNOWN
from tests.data.folders import disc, waves
from tools.reference import composition as reference

ALWAYS, NEVER = CompositionSettings(shrink_probability=1), CompositionSettings(shrink_probability=0)


@pytest.fixture
def bilinear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "draw_interpolation", lambda rng: cv2.INTER_LINEAR)


@pytest.mark.parametrize("settings", [ALWAYS, NEVER], ids=["squeezed", "as it is"])
@pytest.mark.parametrize("size", [(700, 900), (300, 410), (1100, 700)])
def test_one_warp_shows_what_the_published_chain_shows(bilinear, settings: CompositionSettings, size) -> None:
    rng = np.random.default_rng(sum(size))
    alpha, colour, background = disc(*size, radius=0.42), waves(*size), waves(480, 640, 5)
    geometry = draw_geometry(size, rng, settings)
    plan = plan_crop(geometry, alpha, None, rng, settings)
    still = CompositionSettings(jitter=crops.JitterSettings(max_hue_deg=0, strength=0))
    crop = render_crop(plan, Layer(alpha, lambda reduction: colour), None, background, rng, still)

    height, width = geometry.working
    chain = [cv2.resize(x, (width, height)) for x in (colour, alpha.astype(np.float32) / 255)]
    chain = [cv2.warpAffine(x, geometry.affine[:2], (width, height), flags=cv2.WARP_INVERSE_MAP | 1) for x in chain]
    chain = [cv2.resize(x, geometry.canvas[::-1]) for x in (*chain, cv2.resize(background, (width, height)))]
    top, left = plan.corner
    fg, a, bg = (x[top : top + 512, left : left + 512] for x in chain)
    expected = (fg * a[..., None] + bg * (1 - a[..., None])) / 255
    assert np.abs(crop["alpha"] - a).mean() < 0.005
    assert np.abs(crop["image"] - expected).mean() < 0.012


def test_the_trimap_belongs_to_the_alpha() -> None:
    """Known pixels are right within the resolution of a 640x640 trimap.

    That leaves a pixel or two.
    """
    rng = np.random.default_rng(4)
    alpha, wrong = disc(900, 1200), []
    for _ in range(12):
        plan = plan_crop(draw_geometry(alpha.shape, rng, NEVER), alpha, None, rng, NEVER)
        shown = warp_alpha(alpha, plan.to_first, plan.size, cv2.INTER_LINEAR)
        wrong += [((plan.trimap == 255) & (shown < 0.95)).mean(), ((plan.trimap == 0) & (shown > 0.05)).mean()]
        assert (plan.trimap == UNKNOWN).any()
    assert max(wrong) < 0.003


def fast(alpha, colour, other, background, rng) -> tuple:
    settings = CompositionSettings()
    second = other if rng.random() < settings.merge_probability else None
    geometry = draw_geometry(alpha.shape, rng, settings)
    plan = plan_crop(geometry, alpha, second, rng, settings)
    if plan is None:
        return None
    layers = [Layer(a, lambda reduction: colour) for a in (alpha, other)]
    crop = render_crop(plan, layers[0], layers[1] if plan.to_second is not None else None, background, rng, settings)
    return measures(crop["image"], crop["alpha"], plan.trimap, plan.corner, geometry.canvas) + turn(geometry.affine)


def straightforward(alpha, colour, other, background, rng) -> tuple | None:
    merged = rng.random() < 0.5
    second = (colour, other.astype(np.float32) / 255) if merged else (None, None)
    crop = reference.compose(colour, alpha.astype(np.float32) / 255, *second, background, rng)
    if not (crop.trimap == UNKNOWN).any():
        return None
    geometry = (crop.scales[0], crop.scales[1], crop.angle)
    return measures(crop.image / 255, crop.alpha, crop.trimap, crop.corner, crop.canvas) + geometry


def measures(image, alpha, trimap, corner, canvas) -> tuple:
    shares = [(trimap == value).mean() for value in (0, UNKNOWN, 255)]
    room = [(place + 1) / (side - 511) for place, side in zip(corner, canvas, strict=True)]
    return (*shares, alpha.mean(), image.mean(), image.std(), *room, np.log(max(canvas)))


def turn(affine: np.ndarray) -> tuple:
    """Scales and angle from the inverse matrix, whose rows the scales divide."""
    over = np.linalg.inv(affine[:2, :2])  # columns are the scaled axes before shear
    flips = np.sign(over[0, 0]), np.sign(over[1, 1])
    scale_x = np.hypot(over[0, 0], over[1, 0])
    angle = np.arctan2(over[1, 0] * flips[0], over[0, 0] * flips[0])
    # what is left for the second axis once the first one's angle is known
    scale_y = abs(np.linalg.det(over)) / scale_x
    return scale_x, scale_y, angle


NAMES = (
    "background",
    "unknown",
    "foreground",
    "alpha",
    "mean",
    "contrast",
    "top",
    "left",
    "canvas",
    "scale x",
    "scale y",
    "angle",
)


@pytest.mark.parametrize("size", [(500, 620), (760, 1040)])
def test_the_statistics_are_the_published_ones(size: tuple[int, int]) -> None:
    colour, background = waves(*size), waves(480, 640, 3)
    alpha, other = disc(*size, radius=0.35), disc(300, 400, radius=0.2)
    noise = np.random.default_rng(0).integers(0, 40, size, dtype=np.uint8)
    colour = cv2.add(colour, np.repeat(noise[..., None], 3, axis=2))
    count, rows = 100, []
    for pipeline in (fast, straightforward):
        rng = np.random.default_rng(7)
        drawn = [pipeline(alpha, colour, other, background, rng) for _ in range(count)]
        rows.append(np.array([one for one in drawn if one is not None]))
        assert len(rows[-1]) > 0.9 * count
    # Kolmogorov and Smirnov's distance; 1.95 is its level of one in a thousand
    limit = 1.95 * np.sqrt(sum(1 / len(samples) for samples in rows))
    for name, ours, published in zip(NAMES, rows[0].T, rows[1].T, strict=True):
        values = np.sort(np.concatenate([ours, published])) + 1e-9
        shares = [np.searchsorted(np.sort(samples), values) / len(samples) for samples in (ours, published)]
        assert np.abs(shares[0] - shares[1]).max() < limit, name


def test_a_second_layer_that_covers_the_rest_is_left_out() -> None:
    first, full = disc(80, 90), np.full((33, 44), 65535, np.uint16)
    assert not leaves_background(first, full, 64)
    assert leaves_background(first, disc(40, 50), 64)
    rng = np.random.default_rng(0)
    plan = plan_crop(draw_geometry((80, 90), rng, NEVER), first, full, rng, NEVER)
    assert plan.to_second is None


def test_colours_that_nobody_sees_are_not_read() -> None:
    rng = np.random.default_rng(0)
    alpha = disc(700, 700)
    plan = plan_crop(draw_geometry(alpha.shape, rng, NEVER), alpha, alpha, rng, NEVER)
    empty, hidden = np.zeros_like(alpha), Layer(np.zeros_like(alpha), lambda reduction: pytest.fail("was read"))
    crop = render_crop(plan, Layer(empty, hidden.read_colour), hidden, waves(480, 640), rng, NEVER)
    assert not crop["alpha"].any()


def test_no_unknown_pixel_no_plan() -> None:
    rng = np.random.default_rng(0)
    opaque = np.full((4000, 4000), 255, np.uint8)
    still = CompositionSettings(shrink_probability=0, affine=crops.AffineSettings(0, 1024, 1.2, 1.2, 0, 0))
    assert plan_crop(draw_geometry(opaque.shape, rng, still), opaque, None, rng, still) is None


def test_16_bit_alphas_are_warped_as_8_bit_ones() -> None:
    matrix = np.array([[0.9, 0.2, 3.3], [-0.1, 1.1, 7.7], [0, 0, 1]])
    stored = disc(80, 90), np.uint16(257) * disc(80, 90)
    alphas = [warp_alpha(alpha, matrix, (60, 70), cv2.INTER_CUBIC) for alpha in stored]
    assert np.abs(alphas[0] - alphas[1]).max() <= 0.51 / 255
    assert alphas[1].min() >= 0 and alphas[1].max() <= 1


def test_the_window_holds_all_that_a_warp_reads() -> None:
    image, rng = waves(300, 400), np.random.default_rng(0)
    for _ in range(20):
        matrix = np.eye(3)
        matrix[:2] = rng.normal(0, 1, (2, 3)) * (1, 1, 200)
        expected = cv2.warpAffine(image, matrix[:2], (50, 40), flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP)
        difference = cv2.absdiff(warp(image, matrix, (40, 50), cv2.INTER_LANCZOS4), expected)
        assert difference.mean() < 0.2  # OpenCV rounds positions to 1/32 pixel, from the window's corner
    assert source_window(translation(0, 1000), (40, 50), (300, 400)) is None


def test_tiles_equal_the_whole_where_they_are_visible() -> None:
    image, matrix = waves(300, 400), np.array([[1.1, 0.2, 30], [-0.3, 0.9, 90], [0, 0, 1]])
    visible = np.zeros((150, 170))
    visible[70:, 80:90] = 0.5
    whole, tiled = (warp(image, matrix, (150, 170), cv2.INTER_CUBIC, which) for which in (None, visible))
    assert np.abs(whole[visible > 0].astype(int) - tiled[visible > 0]).mean() < 0.5
    assert not tiled[:60].any() and whole[:60].any()


def test_an_upright_window_is_the_warp_to_within_a_pixel() -> None:
    image = waves(480, 640)
    matrix = resize_matrix((1000, 1100), (480, 640)) @ translation(300, 400)
    expected = warp(image, matrix, (512, 512), cv2.INTER_LINEAR)
    assert np.abs(read_upright(image, matrix, (512, 512), cv2.INTER_LINEAR).astype(int) - expected).mean() < 2


@pytest.mark.parametrize(("shrink", "reduction"), [(0.5, 1), (1.99, 1), (2, 2), (7.9, 4), (100, 8)])
def test_decoding_is_never_smaller_than_the_crop_needs(shrink: float, reduction: int) -> None:
    assert decode_reduction(np.diag([shrink, shrink * 3, 1])) == reduction


def test_blend_by_hand() -> None:
    foreground, background = np.full((1, 3, 3), 0.8, np.float32), np.full((1, 3, 3), 0.2, np.float32)
    image = blend(foreground, background, np.array([[0, 0.25, 1]], np.float32))
    assert image[0, :, 0] == pytest.approx([0.2, 0.35, 0.8])


def test_blend_leaves_the_layers_alone() -> None:
    foreground, background = np.ones((2, 2, 3), np.float32), np.zeros((2, 2, 3), np.float32)
    blend(foreground, background, np.full((2, 2), 0.5, np.float32))
    assert (foreground == 1).all() and (background == 0).all()


def test_union_alpha_by_hand() -> None:
    first, second = np.array([0, 0.5, 1, 0.5], np.float32), np.array([0.25, 0.5, 0.3, 0], np.float32)
    assert union_alpha(first, second) == pytest.approx([0.25, 0.75, 1, 0.5])


def test_merged_layers_show_the_first_where_it_is_opaque_and_truncate() -> None:
    first, second = np.full((1, 3, 3), 200, np.uint8), np.full((1, 3, 3), 101, np.uint8)
    alpha = np.array([[1, 0, 0.5]], np.float32)
    colour, joint = merge_foregrounds(first, alpha, second, np.full((1, 3), 0.5, np.float32))
    assert colour[0, :, 0].tolist() == [200, 101, 150]  # 150.5 is cut, not rounded
    assert joint[0] == pytest.approx([1, 0.5, 0.75])
