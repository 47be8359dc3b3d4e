import pytest
import torch

from modeling.closed_form.samples import fill, sampled_alpha


def ramp(height: int = 30, width: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image (3, H, W) between two flat colours, masks of known foreground and background, alpha."""
    alpha = ((torch.arange(width) - 9.5) / 20).clamp(0, 1).expand(height, width)
    image = (
        alpha * torch.tensor([0.9, 0.6, 0.2])[:, None, None]
        + (1 - alpha) * torch.tensor([0.1, 0.3, 0.5])[:, None, None]
    )
    return image, alpha == 1, alpha == 0, alpha


def test_alpha_between_two_colours_is_found_with_confidence() -> None:
    image, foreground, background, alpha = ramp()
    found, confidence = sampled_alpha(image, foreground, background)
    unknown = ~(foreground | background)
    assert (found - alpha)[unknown].abs().max() < 0.01
    assert confidence[unknown].min() > 0.5
    assert not confidence[~unknown].any()


def test_a_colour_between_none_of_the_known_ones_has_no_confidence() -> None:
    image, foreground, background, _ = ramp()
    image = image.clone()
    image[:, 10:20, 15:25] = torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    assert sampled_alpha(image, foreground, background)[1][10:20, 15:25].max() < 0.01


def test_equal_colours_have_no_confidence() -> None:
    _, foreground, background, _ = ramp()
    assert sampled_alpha(torch.full((3, 30, 40), 0.4), foreground, background)[1].max() < 0.01


@pytest.mark.parametrize("turn", range(4))
def test_turned_pictures_give_turned_alphas(turn: int) -> None:
    image, foreground, background, _ = ramp(32, 32)
    image = (image + 0.05 * torch.randn(image.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    expected = sampled_alpha(image, foreground, background)
    turned = sampled_alpha(image.rot90(turn, (1, 2)), foreground.rot90(turn), background.rot90(turn))
    for value, before in zip(turned, expected, strict=True):
        torch.testing.assert_close(value, before.rot90(turn), rtol=0, atol=1e-3)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 9), (7, 1), (13, 17)])
def test_nothing_known_is_finite_and_without_confidence(height: int, width: int) -> None:
    none = torch.zeros(height, width, dtype=torch.bool)
    alpha, confidence = sampled_alpha(torch.rand(3, height, width), none, none)
    assert alpha.isfinite().all()
    assert not confidence.any()


@pytest.mark.parametrize("height, width", [(1, 1), (16, 16), (23, 50)])
def test_filling_keeps_a_single_colour(height: int, width: int) -> None:
    known = torch.zeros(height, width, dtype=torch.bool)
    known[height // 2, width // 3] = True
    colours = torch.where(known, 0.7, torch.rand(3, height, width))
    torch.testing.assert_close(fill(colours, known), torch.full((3, height, width), 0.7))
