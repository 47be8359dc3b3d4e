import pytest
import torch

from modeling import prior
from modeling.decoder.detail_capture import DetailCapture
from modeling.inference.budget import Limits
from modeling.inference.executors import matte
from modeling.prior import closed_form_prior
from tests.modeling.small import DECODER, WIDTH, small_decoder, small_mematte, small_vitmatte
from tests.modeling.test_closed_form import scene


def levels(height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 image and trimap."""
    image, trimap, _ = scene(height, width, seed)
    return (image * 255).round().to(torch.uint8), (trimap * 255).round().to(torch.uint8)


def test_known_pixels_keep_their_alpha() -> None:
    image, trimap = levels(50, 70)
    alpha, known = closed_form_prior(image, trimap), trimap != 128
    assert alpha.dtype == torch.uint8
    assert torch.equal(alpha[known], trimap[known])


def test_large_pictures_are_solved_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    image, trimap = levels(150, 200)
    whole = closed_form_prior(image, trimap)
    solved = []
    monkeypatch.setattr(prior, "PRIOR_PX", 9000)
    solve = prior.closed_form
    monkeypatch.setattr(
        prior, "closed_form", lambda image, trimap: solved.append(trimap.numel()) or solve(image, trimap)
    )
    reduced, known = closed_form_prior(image, trimap), trimap != 128
    assert max(solved) <= 9000
    assert torch.equal(reduced[known], trimap[known])
    assert (reduced.float() - whole.float()).abs().mean() < 4


def test_a_batch_of_large_pictures_equals_its_singles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior, "PRIOR_PX", 2000)
    pairs = [levels(60, 50, seed) for seed in range(2)]
    together = closed_form_prior(*(torch.cat(parts) for parts in zip(*pairs, strict=True)))
    for alone, pair in zip(together, pairs, strict=True):
        assert torch.equal(alone[None], closed_form_prior(*pair))


@pytest.mark.parametrize("weighed", [False, True])
def test_an_untrained_decoder_returns_the_prior(weighed: bool) -> None:
    decoder = DetailCapture(**DECODER, in_chans=5, residual=True, weighed=weighed).eval()
    inputs = torch.rand(1, 5, 32, 48) * 0.9 + 0.05
    torch.testing.assert_close(decoder(torch.rand(1, WIDTH, 2, 3), inputs), inputs[:, -1:])


def test_only_a_residual_decoder_weighs() -> None:
    with pytest.raises(ValueError, match="needs residual=True"):
        DetailCapture(**DECODER, weighed=True)


def test_weight_of_the_prior() -> None:
    decoder, inputs = small_decoder(5, residual=True, weighed=True), torch.rand(1, 5, 8, 8)
    own, started = torch.randn(1, 1, 8, 8), inputs[:, -1:].clamp(0.01, 0.99).logit()
    for weight, counted in ((-100.0, 0), (0.0, 1), (100.0, 2)):
        alpha = decoder.alpha(torch.cat([own, torch.full_like(own, weight)], dim=1), inputs)
        torch.testing.assert_close(alpha, (own + counted * started).sigmoid())


@pytest.mark.parametrize("build", [small_mematte, small_vitmatte])
@pytest.mark.parametrize("prior_px", [2000, 640_000])
def test_tiles_and_strips_of_networks_with_a_prior_equal_the_whole(
    build, prior_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prior, "PRIOR_PX", prior_px)
    model, (image, trimap) = build(prior=True), levels(130, 117)
    unknown = trimap == 128
    with torch.no_grad():
        whole = model(image / 255, torch.where(unknown, 128 / 255, trimap / 255)).alpha
    pieces = matte(model, image, trimap, Limits(chunk_tokens=5, tile_px=96 * 96)).alpha
    torch.testing.assert_close(pieces[unknown], whole[unknown], rtol=0, atol=1e-5)


def test_an_untrained_network_with_a_prior_returns_it() -> None:
    model, (image, trimap) = small_vitmatte(prior=True), levels(64, 64)
    for parameter in model.decoder.matting_head.matting_convs[-1].parameters():
        torch.nn.init.zeros_(parameter)
    expected = closed_form_prior(image, trimap) / 255
    alpha = matte(model, image, trimap, Limits()).alpha
    assert (alpha - expected).abs()[trimap == 128].max() < 0.011


def test_memory_grows_with_what_is_solved_and_then_slowly() -> None:
    small, bound, large = (prior.prior_cost(side, side) for side in (400, 800, 4000))
    assert small < bound < large < bound + 60 * 4000**2
