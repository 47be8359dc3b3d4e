"""Drawn foregrounds: reproducible, of every kind and size, with soft alpha."""

import numpy as np
import pytest

from data.prepare.drawn import KINDS, draw_foreground
from tests.data.folders import waves

TEXTURE = waves(90, 120)


def draw(kind: str, seed: int, size: tuple[int, int] = (96, 120)) -> np.ndarray:
    return draw_foreground(kind, size, np.random.default_rng(seed), TEXTURE)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_shows_something_and_leaves_something(kind: str) -> None:
    for seed in range(3):
        picture = draw(kind, seed)
        assert picture.shape == (96, 120, 4) and picture.dtype == np.uint8
        alpha = picture[..., 3] / 255
        assert 0.005 < alpha.mean() < 0.97
        assert ((alpha > 0.02) & (alpha < 0.98)).mean() > 0.002


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_everything(kind: str) -> None:
    assert np.array_equal(draw(kind, 5), draw(kind, 5))
    assert not np.array_equal(draw(kind, 5), draw(kind, 6))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(17, 40), (300, 200)])
def test_any_size_will_do(kind: str, size: tuple[int, int]) -> None:
    assert draw(kind, 1, size).shape == (*size, 4)


def test_hidden_colours_go_on_smoothly() -> None:
    picture = draw("solid", 3).astype(int)
    steps = np.abs(np.diff(picture[..., :3], axis=1)).max(-1)
    hidden = (picture[:, 1:, 3] == 0) & (picture[:, :-1, 3] == 0)
    assert hidden.any() and np.percentile(steps[hidden], 95) < 40
