import numpy as np
import pytest
import torch

from modeling.diffusion import NamedNoise, Strategy, diffuse, draw_times, normalise, sample


@pytest.mark.parametrize(
    ("text", "sampler", "steps"),
    [("ddim10", "ddim", 10), ("ddim1", "ddim", 1), ("ddpm4", "ddpm", 4), ("50", "ddpm", 50), (" DDIM-7 ", "ddim", 7)],
)
def test_strategy_strings(text, sampler, steps):
    assert Strategy.parse(text) == Strategy(sampler, steps)


@pytest.mark.parametrize("text", ["ddim", "ddim0", "", "ddmi10", "ddim-10-5", "ddim1.5"])
def test_senseless_strategies_are_refused(text):
    with pytest.raises(ValueError, match="use for example ddim10"):
        Strategy.parse(text)


def test_noise_depends_on_name_and_seed_only():
    shape = (1, 1, 9, 7)
    first = NamedNoise("a.png")(shape)
    NamedNoise("b.png")(shape)
    torch.manual_seed(3)
    again = NamedNoise("a.png")(shape)
    assert torch.equal(first, again)
    assert not torch.equal(first, NamedNoise("b.png")(shape))
    assert NamedNoise("\udcff no UTF-8")(shape).shape == shape
    assert not torch.equal(first, NamedNoise("a.png", seed=1)(shape))


def test_noise_is_standard_normal_and_fresh_at_every_draw():
    noise = NamedNoise("a.png")
    first, second = noise((1, 1, 200, 200)), noise((1, 1, 200, 200))
    for draw in (first, second):
        assert abs(draw.mean()) < 0.02 and abs(draw.std() - 1) < 0.02
    assert abs((first * second).mean()) < 0.02


def test_normalise_divides_each_sample_by_its_own_deviation_and_keeps_the_mean():
    x = torch.randn(2, 1, 15, 17, generator=torch.Generator().manual_seed(0))
    x = x * torch.tensor([3.0, 0.5]).view(2, 1, 1, 1) + 1
    for sample_in, sample_out in zip(x, normalise(x), strict=True):
        np.testing.assert_allclose(sample_out, sample_in / np.std(sample_in.numpy()), rtol=1e-5)
    assert torch.equal(normalise(torch.zeros(1, 1, 4, 4)), torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize("strategy", ["ddim1", "ddim2", "ddim13", "ddpm1", "ddpm6"])
def test_the_last_estimate_is_the_result(strategy):
    estimates = []

    def estimate(x, t, last):
        estimates.append((torch.tanh(x + t.view(-1, 1, 1, 1)), last))
        return estimates[-1][0]

    noise = NamedNoise("x")
    alpha = sample(estimate, noise, (2, 1, 5, 6), strategy=Strategy.parse(strategy), scale=0.2)
    assert [last for _, last in estimates] == [False] * (len(estimates) - 1) + [True]
    assert len(estimates) == Strategy.parse(strategy).steps
    torch.testing.assert_close(alpha, (estimates[-1][0] + 1) / 2)


def test_ddim_with_a_perfect_estimate_stays_on_the_path_of_its_noise():
    generator = torch.Generator().manual_seed(1)
    matte = torch.rand(1, 1, 8, 8, generator=generator) * 2 - 1
    noise = torch.randn(1, 1, 8, 8, generator=generator)
    seen = []

    def estimate(x, t, last):
        seen.append((x, t))
        return matte

    sample(estimate, lambda shape: noise, matte.shape, strategy=Strategy("ddim", 5), scale=0.2)
    for x, t in seen:
        torch.testing.assert_close(x, normalise(diffuse(matte, noise, t, 0.2)), atol=1e-5, rtol=0)


def test_ddpm_adds_no_noise_in_its_last_step():
    draws = []

    def noise(shape):
        draws.append(torch.randn(shape, generator=torch.Generator().manual_seed(len(draws))))
        return draws[-1]

    sample(lambda x, t, last: torch.zeros_like(x), noise, (1, 1, 4, 4), strategy=Strategy("ddpm", 4), scale=0.2)
    assert len(draws) == 4  # the initial state and three of four steps


def test_training_times():
    uniform = torch.rand(2, 1000, generator=torch.Generator().manual_seed(0))
    assert draw_times("plain", uniform)[0] is None
    earlier, t = draw_times("self_align_1", uniform)
    assert (earlier == 1).all() and torch.equal(t, uniform[0])
    earlier, t = draw_times("self_align_2", uniform)
    assert (0 <= t).all() and (t <= earlier).all() and (earlier <= 1).all()
    torch.testing.assert_close(earlier - t, uniform[0], atol=1e-6, rtol=0)  # the interval is what is uniform
