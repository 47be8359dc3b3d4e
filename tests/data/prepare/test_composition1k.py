import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.files import FileError
from data.prepare.composition1k import (
    Composite,
    blend_rows,
    build,
    first_channel,
    fit_background,
    plan,
    prepare_folders,
)
from tools.reference.composition1k import composite

SIZES = {  # background (width, height) for a foreground of 37 x 29
    "same": (37, 29),
    "larger": (60, 50),
    "narrower": (20, 50),
    "lower": (60, 13),
    "smaller_both": (11, 9),
    "one_pixel_less": (36, 28),
    "wide_and_low": (36, 5),
    "tall_and_thin": (3, 200),
    "single_pixel": (1, 1),
}


def picture(size: tuple[int, int], seed: int, mode: str = "RGB") -> Image.Image:
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("relation", SIZES)
def test_equals_the_written_out_version(relation, mode):
    foreground, alpha, background = picture((37, 29), 0), picture((37, 29), 1, mode), picture(SIZES[relation], 2)
    expected = np.asarray(composite(foreground, alpha, background))
    fitted = fit_background(background, foreground.size)
    assert fitted.size == foreground.size
    assert np.array_equal(blend_rows(np.asarray(foreground), np.asarray(fitted), first_channel(alpha)), expected)


def test_backgrounds_above_the_limit_of_pillow_are_cut(monkeypatch):
    background = picture((60, 50), 0)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert np.array_equal(np.asarray(fit_background(background, (37, 29))), np.asarray(background)[:29, :37])


def test_blend_equals_python_for_every_alpha():
    """All alphas, with colours near and far.

    Where the exact result is whole, rounding in the last bit decides.
    """
    rng = np.random.default_rng(0)
    alpha = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 300, axis=1)
    front, back = rng.integers(0, 256, (2, 256, 300, 3), dtype=np.uint8)
    front[:, :100] = back[:, :100]  # the result is the colour itself or, one bit too low, the next smaller
    expected = [
        [[int(a / 255 * int(f) + (1 - a / 255) * int(b)) for f, b in zip(*pixels, strict=True)] for pixels in row]
        for a, row in enumerate(zip(x, y, strict=True) for x, y in zip(front, back, strict=True))
    ]
    assert np.array_equal(blend_rows(front, back, alpha), expected)


def test_is_fifty_times_faster():
    foreground, alpha, background = picture((256, 256), 0), picture((256, 256), 1, "L"), picture((200, 300), 2)

    def fast() -> None:
        fitted = np.asarray(fit_background(background, foreground.size))
        blend_rows(np.asarray(foreground), fitted, first_channel(alpha))

    def seconds(work) -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    slow = min(seconds(lambda: composite(foreground, alpha, background)) for _ in range(2))
    assert slow > 50 * min(seconds(fast) for _ in range(7))


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Foreground with an awkward name and colour alpha, two backgrounds, two trimaps."""
    for folder in ("fg", "alpha", "bg", "trimaps"):
        (tmp_path / folder).mkdir()
    picture((12, 9), 0, "RGBA").save(tmp_path / "fg" / "cat_1 (1).png")
    picture((12, 9), 1).save(tmp_path / "alpha" / "cat_1 (1).png")
    for number in range(2):
        picture((8, 20), 3 + number).save(tmp_path / "bg" / f"2008_{number}.png")
        picture((12, 9), 5 + number, "L").save(tmp_path / "trimaps" / f"cat_1 (1)_{number}.png")
    return tmp_path


def planned(parts: Path, backgrounds: tuple[str, ...] = ("2008_1.jpg", "2008_0.jpg")):
    folders = parts / "fg", parts / "alpha", parts / "bg", parts / "trimaps"
    return plan(["cat_1 (1).png"], list(backgrounds), *folders, each=2)


def test_build_lays_out_the_set_in_list_order(parts):
    prepare_folders(parts / "out")
    result = planned(parts)
    assert not result.problems
    assert [build(item, parts / "out") for item in result.composites] == [True, True]
    foreground = Image.open(parts / "fg" / "cat_1 (1).png").convert("RGB")
    alpha = Image.open(parts / "alpha" / "cat_1 (1).png")
    for number, background in enumerate(("2008_1", "2008_0")):
        name = f"cat_1 (1)_{number}.png"
        expected = composite(foreground, alpha, Image.open(parts / "bg" / f"{background}.png"))
        assert np.array_equal(np.asarray(Image.open(parts / "out/merged" / name)), np.asarray(expected))
        assert (parts / "out/alpha_copy" / name).read_bytes() == (parts / "alpha/cat_1 (1).png").read_bytes()
        assert (parts / "out/trimaps" / name).read_bytes() == (parts / "trimaps" / name).read_bytes()


def test_build_is_resumed_where_it_stopped(parts):
    prepare_folders(parts / "out")
    items = planned(parts).composites
    for item in items:
        build(item, parts / "out")
    first, second = (parts / "out/merged" / f"cat_1 (1)_{number}.png" for number in range(2))
    before, stamp = second.read_bytes(), first.stat().st_mtime_ns
    second.unlink()
    assert [build(item, parts / "out") for item in items] == [False, True]
    assert (second.read_bytes(), first.stat().st_mtime_ns) == (before, stamp)


def test_what_is_missing_is_named(parts):
    (parts / "trimaps" / "cat_1 (1)_0.png").unlink()
    result = planned(parts, ("2008_1.jpg", "2011_9.jpg"))
    assert [item.name for item in result.composites] == []
    assert ["trimap cat_1 (1)_0.png" in result.problems[0], "2011_9.jpg" in result.problems[1]] == [True, True]
    with pytest.raises(FileError, match="need 2 backgrounds"):
        planned(parts, ("2008_1.jpg",))


def test_a_bad_part_leaves_nothing_behind(parts):
    prepare_folders(parts / "out")
    item = planned(parts).composites[0]
    damaged = parts / "bg" / "damaged.png"
    damaged.write_bytes(item.background.read_bytes()[:60])
    small = parts / "small.png"
    picture((5, 5), 0, "L").save(small)
    for bad in (
        Composite(item.name, item.foreground, item.alpha, damaged, item.trimap),
        Composite(item.name, item.foreground, small, item.background, item.trimap),
        Composite(item.name, item.foreground, item.alpha, item.background, small),
    ):
        with pytest.raises(FileError, match=r"damaged|small|cat_1"):
            build(bad, parts / "out")
    assert [path for path in (parts / "out").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_damaged_parts_are_told_in_one_line(tmp_path, kind):
    """Pillow raises SyntaxError, ValueError and others beside OSError."""
    picture((37, 29), 0).save(tmp_path / "whole", kind)
    content, rng = (tmp_path / "whole").read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(0, min(len(content), 300), 4):
            damaged[place] = rng.integers(256)
        (tmp_path / "a").write_bytes(damaged)
        try:
            build(Composite("a_0", *[tmp_path / "a"] * 3, None), tmp_path)
        except FileError as error:
            assert str(error).isprintable()
