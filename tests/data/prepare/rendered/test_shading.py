"""Light is weakened by fibres and bodies, and takes their colour."""

import numpy as np
import pytest

from data.prepare.rendered.scene import Ellipsoid, Strands
from data.prepare.rendered.shading import Density, fibre_lobes, fibre_transmission, light_through_bodies

UP = np.array([0.0, 0.0, 1.0])


def slab(count: int, radius: float) -> Strands:
    """Level fibres at random places of a unit cube."""
    rng = np.random.default_rng(0)
    starts = rng.uniform(0, 1, (count, 3)) * (0, 1, 1)
    points = starts[:, None] + np.linspace(0, 1, 12)[None, :, None] * np.array([1.0, 0.0, 0.0])
    return Strands(points.astype(np.float32), np.full((count, 12), radius, np.float32), np.ones((count, 12, 3)))


def test_depth_counts_the_fibres_on_a_ray() -> None:
    density = Density([slab(4000, 0.001)], np.random.default_rng(0))
    below = np.tile([0.5, 0.5, -0.02], (200, 1)).astype(np.float32)
    # 4000 fibres of breadth 0.002 cross a column of breadth 1; pi / 4 is the mean over directions of the fibres.
    assert density.depth(below, UP).mean() == pytest.approx(4000 * 0.002 * np.pi / 4, rel=0.15)
    assert density.depth(below, -UP).max() == 0


def test_depth_grows_with_the_way_through() -> None:
    density = Density([slab(2000, 0.002)], np.random.default_rng(0))
    heights = np.repeat([0.1, 0.5, 0.9], 300)
    points = np.stack([np.full(900, 0.5), np.full(900, 0.5), heights], axis=1).astype(np.float32)
    low, middle, high = density.depth(points, UP).reshape(3, 300).mean(axis=1)
    assert low > middle > high


def test_a_body_blocks_lamps_behind_it() -> None:
    body = Ellipsoid(np.zeros(3), np.ones(3))
    points = np.array([[0, 0, -2.0], [0, 0, 2.0], [3.0, 0, -2.0]])
    assert light_through_bodies(points, UP, [body], 0.05) == pytest.approx([0, 1, 1])


def test_pale_fibres_pass_on_more_light() -> None:
    pale, dark = fibre_transmission(np.array([[0.8, 0.8, 0.8], [0.01, 0.01, 0.01]]))
    assert (pale > 2 * dark).all() and (pale < 1).all()


def test_light_from_behind_shines_through_a_fibre_in_its_colour() -> None:
    along, view = np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, -1.0, 0.0]])
    colour = np.array([[0.6, 0.2, 0.05]])
    behind = fibre_lobes(along, np.array([0.0, 1.0, 0.0]), view, colour, 0.3, np.zeros(1))[0]
    before = fibre_lobes(along, np.array([0.0, -1.0, 0.0]), view, colour, 0.3, np.zeros(1))[0]
    assert behind[0] > before[0] > 0
    assert behind[0] > behind[1] > behind[2]
