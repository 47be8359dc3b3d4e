"""Finished foregrounds: alpha untouched, colours continued beyond the edge."""

import numpy as np

from data.prepare.rendered.finish import developed, encode_srgb, with_exact_alpha


def red_square() -> np.ndarray:
    """Premultiplied linear picture with a soft edge."""
    alpha = np.zeros((48, 48), np.float32)
    alpha[16:32, 16:32] = 1
    alpha[15], alpha[32] = alpha[16] * 0.5, alpha[31] * 0.5
    return np.dstack([alpha * 0.5, alpha * 0.1, alpha * 0.1, alpha])


def test_colour_goes_on_outside_the_object() -> None:
    rgba = developed(red_square(), np.random.default_rng(1))
    assert rgba.dtype == np.uint8 and rgba.shape == (48, 48, 4)
    inside = rgba[24, 24, :3].astype(int)
    assert inside[0] > inside[1] + 40
    assert np.abs(rgba[..., :3].astype(int) - inside).max() <= 3


def test_alpha_is_kept_where_the_lens_is_sharp() -> None:
    pictures = [developed(red_square(), np.random.default_rng(seed)) for seed in range(12)]
    alphas = [rgba[..., 3] for rgba in pictures]
    assert any(np.array_equal(alpha, np.rint(red_square()[..., 3] * 255)) for alpha in alphas)
    assert all(abs(alpha.mean() - red_square()[..., 3].mean() * 255) < 0.5 for alpha in alphas)


def test_exposure_follows_the_brightness() -> None:
    dim = red_square() * (0.02, 0.02, 0.02, 1)
    levels = [
        developed(picture.astype(np.float32), np.random.default_rng(3))[24, 24, 0] for picture in (red_square(), dim)
    ]
    assert levels[0] > levels[1] > 20


def test_srgb_has_the_values_of_the_standard() -> None:
    assert np.allclose(encode_srgb(np.array([0.0, 0.0031308, 0.2140411, 1.0])), [0, 0.04045, 0.5, 1], atol=1e-5)


def test_the_alpha_of_many_samples_replaces_that_of_few() -> None:
    colour = np.zeros((32, 32, 4), np.float32)
    colour[8:24, 8:24] = (0.2, 0.6, 0.4, 1)
    alpha = np.full((32, 32), 0.25, np.float32)
    rgba = with_exact_alpha(colour, alpha)
    assert (rgba[..., 3] == 64).all()
    assert np.abs(rgba[..., :3].astype(int) - (51, 153, 102)).max() <= 1
