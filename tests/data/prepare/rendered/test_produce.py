"""Every kind gives a plausible foreground that depends on its seed alone."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.files import read_cutout
from data.prepare.free_set import object_of
from data.prepare.rendered import fur, hair
from data.prepare.rendered.produce import GROUPS, KINDS, Rendering, encoded, make_foreground
from data.prepare.rendered.recipes import make_scene


@pytest.fixture(autouse=True)
def few_strands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hair, "FULL", 400)
    monkeypatch.setattr(fur, "FULL", 400)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_seen_and_leaves_room(kind: str) -> None:
    rgba = make_foreground(kind, seed=1, size=64)
    assert rgba.shape == (64, 64, 4) and rgba.dtype == np.uint8
    alpha = rgba[..., 3] / 255
    assert 0.005 < alpha.mean() < 0.98
    assert ((alpha > 0) & (alpha < 1)).any()
    assert rgba[..., :3].std() > 1


@pytest.mark.parametrize("kind", ["lashes", "lace", "spray"])
def test_the_seed_decides(kind: str) -> None:
    first, again, other = (make_foreground(kind, seed, 64) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("kind", GROUPS["hair"])
def test_strands_of_hair_are_about_a_pixel_wide(kind: str) -> None:
    scene = make_scene(kind, np.random.default_rng(5))
    width = 2 * np.median(scene.coats[0].radius) * 640 / scene.camera.extent
    assert 0.3 < width < 4.5
    assert all(np.isfinite(coat.points).all() and (coat.colour > 0).all() for coat in scene.coats)


def test_a_file_is_made_once(tmp_path: Path) -> None:
    item = Rendering("net", 7, tmp_path, 64)
    assert item.make() is True
    before = item.target.stat().st_mtime_ns
    assert item.make() is False
    assert item.target.stat().st_mtime_ns == before
    colour, alpha = read_cutout(item.target)
    assert colour.shape == (64, 64, 3) and alpha.any()


def test_pictures_of_one_kind_are_different_objects_to_the_split(tmp_path: Path) -> None:
    names = {object_of(Rendering("fur", seed, tmp_path).target.stem) for seed in range(3)}
    assert len(names) == 3


def test_the_file_keeps_alpha_exactly_and_colour_under_it() -> None:
    rgba = np.full((16, 16, 4), 120, np.uint8)
    rgba[..., 3] = np.arange(256).reshape(16, 16)
    decoded = np.array(Image.open(io.BytesIO(encoded(rgba))))
    assert np.array_equal(decoded[..., 3], rgba[..., 3])
    assert np.abs(decoded[..., :3].astype(int) - 120).max() <= 4
