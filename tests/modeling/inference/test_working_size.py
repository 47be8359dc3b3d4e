from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from modeling import Predictor
from modeling.inference.working_size import (
    Plan,
    lost_detail,
    parse_working_size,
    plan,
    resolve_working_size,
    spread,
    working_size_cost,
)
from modeling.resizing import enlarge, linear_models, reduce
from tests.modeling.small import small_mematte


def scene(side: int, stripes: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Picture, trimap and true alpha of a bright disc with dark stripes."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    distance = (((y - side / 2) ** 2 + (x - side / 2) ** 2).sqrt() - side / 4)[None, None]
    alpha = (distance < 0).float()
    if stripes:
        alpha = alpha * ((x // stripes) % 2)
    trimap = torch.full_like(alpha, 128, dtype=torch.uint8)
    trimap[distance < -side / 10], trimap[distance > side / 10] = (128 if stripes else 255), 0
    foreground, background = torch.tensor([220, 160, 40]), torch.tensor([20, 60, 90])
    image = alpha * foreground.view(1, 3, 1, 1) + (1 - alpha) * background.view(1, 3, 1, 1)
    return image.to(torch.uint8), trimap, alpha


def test_small_pictures_are_left_as_they_are() -> None:
    _, trimap, _ = scene(200)
    assert plan(trimap, 160) is None
    assert plan(trimap, 159) is not None


def test_the_plan_holds_the_unknown_region_with_context_inside_the_picture() -> None:
    trimap = torch.zeros(1, 1, 1000, 1500, dtype=torch.uint8)
    trimap[..., 100:300, 900:1300] = 128
    chosen = plan(trimap, 200)
    assert chosen == Plan(top=34, bottom=366, left=834, right=1366, height=125, width=200)
    assert chosen.reduces
    assert "532 x 332 pixels at (834, 34) matted at 200 x 125" in str(chosen)
    trimap[..., 0, 0] = 128
    assert (plan(trimap, 200).top, plan(trimap, 200).left) == (0, 0)


def test_a_small_unknown_region_of_a_large_picture_keeps_its_pixels() -> None:
    trimap = torch.zeros(1, 1, 1000, 1000, dtype=torch.uint8)
    trimap[..., 500:540, 500:540] = 128
    assert not plan(trimap, 200).reduces


def test_without_unknown_pixels_the_whole_picture_is_the_part() -> None:
    assert plan(torch.zeros(1, 1, 300, 400, dtype=torch.uint8), 100) == Plan(0, 300, 0, 400, height=75, width=100)


def test_detail_is_measured_against_contrast_without_noise() -> None:
    fine, trimap, _ = scene(512, stripes=3)
    coarse = torch.nn.functional.interpolate(scene(128)[0].float(), (512, 512), mode="bicubic").clamp(0, 255)
    noisy = (coarse + 4 * torch.randn(coarse.shape)).clamp(0, 255)
    assert lost_detail(fine, trimap, 4.0) > 0.3
    assert lost_detail(coarse.to(torch.uint8), trimap, 4.0) < 0.01
    assert lost_detail(noisy.to(torch.uint8), trimap, 4.0) < 0.02
    assert lost_detail(torch.zeros_like(fine), trimap, 4.0) == 0
    assert lost_detail(fine[..., :50, :], trimap[..., :50, :], 4.0) == 0


def test_pictures_are_reduced_no_further_than_their_detail_survives() -> None:
    fine, trimap, _ = scene(512, stripes=3)
    coarse = torch.nn.functional.interpolate(scene(128)[0].float(), (512, 512), mode="bicubic").clamp(0, 255)
    assert plan(trimap, 128, coarse.to(torch.uint8)) == plan(trimap, 128)
    assert not plan(trimap, 128, fine).reduces


def test_known_after_reducing_is_only_what_was_known_throughout() -> None:
    image, trimap, _ = scene(200)
    trimap[..., 3, 3] = 128  # one pixel far from all others
    reduced, levels = reduce(image, trimap, 50, 40)
    assert reduced.shape == (1, 3, 50, 40)
    assert reduced.dtype == levels.dtype == torch.uint8
    assert levels[..., 0, 0] == 128
    assert levels[..., 0, 5] == 0
    assert levels[..., 25, 20] == 255
    means = image.float().mean((2, 3)), reduced.float().mean((2, 3))
    torch.testing.assert_close(*means, atol=1.5, rtol=0)


def test_slopes_are_those_of_alpha_over_colour() -> None:
    image, _, alpha = scene(64)
    slopes = linear_models(image.float() / 255, alpha)
    foreground, background = torch.tensor([220, 160, 40]) / 255, torch.tensor([20, 60, 90]) / 255
    change = (slopes * (foreground - background).view(1, 3, 1, 1)).sum(1)
    assert change[0, 32, 16].item() == pytest.approx(1, abs=0.25)  # on the edge
    assert change[0, 32, 32].item() == change[0, 2, 2].item() == 0


@pytest.mark.parametrize("stripes", [0, 6])
def test_enlarging_returns_the_detail_that_reducing_removed(stripes: int) -> None:
    image, trimap, alpha = scene(301, stripes)
    reduced, _ = reduce(image, trimap, 75, 76)
    small = torch.nn.functional.adaptive_avg_pool2d(alpha, (75, 76))
    plain = torch.nn.functional.interpolate(small, (301, 301), mode="bicubic").clamp(0, 1)
    result = enlarge(small, reduced, image, trimap)
    unknown = trimap == 128
    error, plain_error = ((guess - alpha)[unknown].abs().mean().item() for guess in (result, plain))
    assert error < 0.25 * plain_error
    assert torch.equal(result[~unknown], (trimap == 255).float()[~unknown])
    assert result.min() >= 0
    assert result.max() <= 1


def test_tiles_equal_the_whole() -> None:
    image, trimap, alpha = scene(333)
    reduced, _ = reduce(image, trimap, 80, 80)
    small = torch.nn.functional.adaptive_avg_pool2d(alpha, (80, 80))
    whole, tiled = (enlarge(small, reduced, image, trimap, tile_px) for tile_px in (10**9, 64 * 64))
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", ["automatic", "63", 10, "1.5", "-800", ""])
def test_refuses_other_working_sizes(value: str | int) -> None:
    with pytest.raises(ValueError, match="use auto, full, or at least 64"):
        parse_working_size(value)


def test_auto_is_what_the_weights_state(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(1)}
    metadata = {
        "stated": {"working_size_px": "720"},
        "known": {"config": "MEMatte_T"},
        "published": {"config": "MEMatte_S_UHR395"},
        "silly": {"working_size_px": "-3"},
    }
    files = {name: tmp_path / f"{name}.safetensors" for name in metadata}
    for name, file in files.items():
        save_file(tensors, file, metadata[name])
    assert resolve_working_size("auto", files["stated"]) == 720
    assert resolve_working_size("auto", files["known"]) == 640
    assert resolve_working_size("auto", files["published"]) is None
    assert resolve_working_size("auto", files["silly"]) is None
    assert resolve_working_size("auto", None) is None
    assert resolve_working_size("auto", tmp_path / "x.pth") is None
    assert resolve_working_size("full", files["stated"]) is None
    assert resolve_working_size("1200", files["stated"]) == 1200


def test_the_predictor_sees_the_reduced_part_and_returns_the_whole_picture() -> None:
    image, trimap, _ = scene(400)
    predictor = Predictor(small_mematte(), device="cpu", working_size=128)
    matte = predictor.run(image[0].permute(1, 2, 0).numpy(), trimap[0, 0].numpy())
    assert matte.alpha.shape == (400, 400)
    assert [maps.shape for maps in matte.keep] == [(8, 8)] * 2
    top, bottom, left, right = (getattr(matte.part, side) for side in ("top", "bottom", "left", "right"))
    assert [maps.shape for maps in matte.keep_over_picture()] == [(25, 25)] * 2
    assert 0 < top < bottom < 400
    assert 0 < left < right < 400
    assert (matte.alpha[trimap[0, 0].numpy() == 0] == 0).all()
    assert (matte.alpha[trimap[0, 0].numpy() == 255] == 1).all()
    reduced, levels = reduce(*(tensor[..., top:bottom, left:right] for tensor in (image, trimap)), 128, 128)
    small = Predictor(small_mematte(), device="cpu").predict(reduced[0].permute(1, 2, 0).numpy(), levels[0, 0].numpy())
    part = enlarge(
        torch.from_numpy(small)[None, None],
        reduced,
        image[..., top:bottom, left:right],
        trimap[..., top:bottom, left:right],
    )
    np.testing.assert_allclose(matte.alpha[top:bottom, left:right], part[0, 0].numpy(), atol=1e-6)


def test_token_maps_are_spread_over_the_picture() -> None:
    maps = np.array([[True, False], [False, True], [False, False]])  # the last row is padding
    part = Plan(top=32, bottom=96, left=64, right=128, height=32, width=32)
    expected = np.zeros((8, 10), bool)
    expected[2:4, 4:6] = expected[4:6, 6:8] = True
    assert np.array_equal(spread(maps, part, 128, 150), expected)


def test_the_budget_counts_what_the_network_sees() -> None:
    _, trimap, _ = scene(1000)
    budget = Predictor(small_mematte(), device="cpu", max_memory="64GB", working_size=128)
    chosen = plan(trimap, 128)
    assert budget.choose_limits(1000, 1000, chosen) == budget.limits
    assert working_size_cost(chosen, 1000, 1000) < 100 * 10**6


def test_the_shipped_weights_state_or_are_known_to_have_a_size() -> None:
    weights = Path(__file__).resolve().parents[3] / "weights"
    sizes = {path.stem: resolve_working_size("auto", path) for path in sorted(weights.glob("*.safetensors"))}
    assert set(sizes.values()) == {640}, sizes
