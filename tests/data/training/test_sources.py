"""Folders of foregrounds and backgrounds: pairing, order, weights and refusals."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.files import FileError
from data.training.cache import DecodedCache
from data.training.sources import (
    ROOT_VARIABLE,
    BackgroundFolder,
    CutoutFolder,
    ForegroundFolder,
    MixedForegrounds,
    inspect_foregrounds,
)
from tests.data.folders import disc, make_dim, waves, write


def test_pairs_by_stem_whatever_the_extension(tmp_path: Path) -> None:
    write(tmp_path / "fg" / "b.JPG", waves(20, 30))
    write(tmp_path / "fg" / "a.bmp", waves(20, 30))
    write(tmp_path / "alpha" / "b.png", disc(20, 30))
    write(tmp_path / "alpha" / "a.tif", disc(20, 30))
    folder = ForegroundFolder(tmp_path)
    assert [foreground.name for foreground in folder.foregrounds] == ["a", "b"]
    assert [foreground.alpha.name for foreground in folder.foregrounds] == ["a.tif", "b.png"]


def test_relative_roots_are_looked_up_in_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_dim(tmp_path / "DIM")
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    assert len(ForegroundFolder("DIM")) == 3
    with pytest.raises(FileError, match=rf"nowhere.*{ROOT_VARIABLE}"):
        BackgroundFolder("nowhere")


def test_cutouts_are_read_straight(tmp_path: Path) -> None:
    rgba = np.dstack([waves(20, 30), disc(20, 30)])
    write(tmp_path / "a.png", rgba)
    foreground = CutoutFolder(tmp_path).foregrounds[0]
    cache = DecodedCache(2**20)
    assert (foreground.read_alpha(cache) == rgba[..., 3]).all()
    assert (foreground.read_colour(cache, 1, (20, 30)) == rgba[..., 2::-1]).all()


def test_16_bit_alphas_and_cutouts_keep_their_depth(tmp_path: Path) -> None:
    alpha = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    write(tmp_path / "dim" / "fg" / "a.png", waves(20, 30))
    write(tmp_path / "dim" / "alpha" / "a.png", alpha)
    write(tmp_path / "cut" / "a.png", np.dstack([waves(20, 30).astype(np.uint16) * 257, alpha]))
    cache = DecodedCache(2**20)
    for source in (ForegroundFolder(tmp_path / "dim"), CutoutFolder(tmp_path / "cut")):
        read = source.foregrounds[0].read_alpha(cache)
        assert read.dtype == np.uint16 and (read == alpha).all()
    assert (source.foregrounds[0].read_colour(cache, 1, (20, 30)) == waves(20, 30)[..., ::-1]).all()


def test_large_jpegs_are_decoded_smaller_on_request(tmp_path: Path) -> None:
    write(tmp_path / "fg" / "a.jpg", waves(801, 1003))
    write(tmp_path / "alpha" / "a.png", disc(801, 1003))
    foreground = ForegroundFolder(tmp_path).foregrounds[0]
    half = foreground.read_colour(DecodedCache(0), 2, (801, 1003))
    assert half.shape == (401, 502, 3)
    whole = foreground.read_colour(DecodedCache(0), 1, (801, 1003))
    expected = cv2.resize(whole[:800, :1002], (501, 400), interpolation=cv2.INTER_AREA)
    assert np.abs(half[:400, :501].astype(int) - expected).mean() < 1


def test_the_cache_gives_back_the_same_read_only_arrays_and_forgets(tmp_path: Path) -> None:
    cache, calls = DecodedCache(100), []

    def decode(value: int) -> tuple[np.ndarray]:
        calls.append(value)
        return (np.full(60, value, np.uint8),)

    first = cache.get(("a",), lambda: decode(1))[0]
    assert cache.get(("a",), lambda: decode(2))[0] is first and not first.flags.writeable
    cache.get(("b",), lambda: decode(3))  # 120 bytes together: the older one goes
    assert ("a",) not in cache and ("b",) in cache and calls == [1, 3]


@pytest.mark.parametrize("kind", ["lonely foreground", "lonely alpha", "size", "empty file", "text", "two of a stem"])
def test_refuses_at_the_start_and_names_the_file(tmp_path: Path, kind: str) -> None:
    make_dim(tmp_path)
    if kind == "lonely foreground":
        bad = write(tmp_path / "fg" / "x.jpg", waves(9, 9))
    elif kind == "lonely alpha":
        bad = write(tmp_path / "alpha" / "x.png", disc(9, 9))
    elif kind == "size":
        bad = write(tmp_path / "alpha" / "f1.png", disc(77, 160))
    elif kind == "two of a stem":
        bad = write(tmp_path / "fg" / "f1.png", waves(9, 9))
    else:
        bad = tmp_path / "fg" / "f1.jpg"
        bad.write_bytes(b"" if kind == "empty file" else b"not a picture")
    with pytest.raises(ValueError, match=bad.name):
        ForegroundFolder(tmp_path)
    kept = {foreground.name for foreground in ForegroundFolder(tmp_path, skip_bad=True).foregrounds}
    assert "x" not in kept and {"f0", "f2"} <= kept


def test_says_both_sizes(tmp_path: Path) -> None:
    make_dim(tmp_path)
    write(tmp_path / "alpha" / "f0.png", disc(77, 99))
    assert "alpha is 99 x 77" in inspect_foregrounds(tmp_path).problems[0]
    assert "f0.jpg is 160 x 160" in inspect_foregrounds(tmp_path).problems[0]


@pytest.mark.parametrize("folder", ["fg", "alpha", "bg"])
def test_refuses_empty_folders_by_name(tmp_path: Path, folder: str) -> None:
    make_dim(tmp_path)
    for path in (tmp_path / folder).iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=f"{folder}: holds no image"):
        ForegroundFolder(tmp_path), BackgroundFolder(tmp_path / "bg")


def test_small_backgrounds_are_refused_on_request(tmp_path: Path) -> None:
    make_dim(tmp_path)
    small = write(tmp_path / "bg" / "small.jpg", waves(30, 150))
    assert len(BackgroundFolder(tmp_path / "bg")) == 5
    with pytest.raises(ValueError, match=f"{small.name}: background is 150 x 30, smaller than 100"):
        BackgroundFolder(tmp_path / "bg", min_side_px=100)
    assert len(BackgroundFolder(tmp_path / "bg", min_side_px=100, skip_bad=True)) == 4


def test_an_alpha_of_zeros_is_an_error_that_names_it(tmp_path: Path) -> None:
    make_dim(tmp_path)
    write(tmp_path / "alpha" / "f0.png", np.zeros((160, 160), np.uint8))
    with pytest.raises(FileError, match=r"f0\.png: the alpha is 0 everywhere"):
        ForegroundFolder(tmp_path).foregrounds[0].read_alpha(DecodedCache(0))


@pytest.mark.parametrize("name", ["fg/f0.jpg", "alpha/f0.png"])
def test_a_cut_off_file_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    make_dim(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-200])
    foreground = ForegroundFolder(tmp_path).foregrounds[0]
    with pytest.raises(FileError, match=path.name):
        foreground.read_alpha(DecodedCache(0))
        foreground.read_colour(DecodedCache(0), 1, (160, 160))


def test_a_picture_without_alpha_channel_is_no_cutout(tmp_path: Path) -> None:
    write(tmp_path / "a.png", waves(20, 30))
    with pytest.raises(FileError, match=r"a\.png: has no alpha channel"):
        CutoutFolder(tmp_path).foregrounds[0].read_alpha(DecodedCache(0))


def test_patterns_choose(tmp_path: Path) -> None:
    make_dim(tmp_path)
    assert [foreground.name for foreground in ForegroundFolder(tmp_path, patterns=["*1"]).foregrounds] == ["f1"]


def test_files_that_are_not_read_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_dim(tmp_path)
    for name in ("bg/b9.gif", "bg/.hidden/b8.gif", "bg/Thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with caplog.at_level("WARNING"):
        BackgroundFolder(tmp_path / "bg")
    (record,) = caplog.records
    assert "1 file is not read" in record.getMessage() and record.getMessage().endswith(": b9.gif")


def test_sources_are_mixed_by_weight(tmp_path: Path) -> None:
    make_dim(tmp_path)
    parts = [ForegroundFolder(tmp_path, patterns=[pattern]) for pattern in ("f0", "f1", "f2")]
    mixed = MixedForegrounds(parts, [3, 1, 0])
    rng = np.random.default_rng(0)
    names = [mixed.pick(position, rng).name for position in range(400)]
    assert len(mixed) == 3 and "f2" not in names
    assert names.count("f0") / 400 == pytest.approx(0.75, abs=0.07)
    for weights in ([1, 1], [0, 0, 0], [1, -1, 1], [1, 1, np.nan]):
        with pytest.raises(ValueError, match="weights"):
            MixedForegrounds(parts, weights)
