import logging

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data.files import FileError
from data.masks import Width, drawn_widths, instance_trimaps, read_mask, trimap_from_mask


def disc(size: int, radius: int) -> np.ndarray:
    return cv2.circle(np.zeros((size, size), np.uint8), (size // 2, size // 2), radius, 255, -1)


@pytest.mark.parametrize("inner, outer", [(0, 0), (3, 7), (8, 1)])
def test_band_has_the_widths_asked_for(inner, outer):
    mask = np.zeros((40, 60), np.uint8)
    mask[:, 30:] = 255
    row = trimap_from_mask(mask, Width(inner), Width(outer))[20]
    assert (row == 0).sum() == 30 - outer
    assert (row == 255).sum() == 30 - inner


def test_relative_band_grows_with_the_object():
    width = Width(0.1, relative=True)
    small, large = (trimap_from_mask(disc(4 * radius, radius), width, width) for radius in (30, 90))
    assert (large == 128).sum() / (small == 128).sum() == pytest.approx(9, rel=0.1)


@given(st.integers(0, 2**32 - 1), st.integers(0, 9), st.integers(0, 9))
def test_nothing_changes_sides(seed, inner, outer):
    rng = np.random.default_rng(seed)
    values = rng.choice(np.array([0, 100, 255], np.uint8), (17, 23), p=[0.6, 0.05, 0.35])
    trimap = trimap_from_mask(values, Width(inner), Width(outer))
    assert (values[trimap == 255] == 255).all()
    assert (values[trimap == 0] == 0).all()


def test_holes_and_separate_thin_objects_keep_their_middle():
    mask = disc(300, 120)
    cv2.circle(mask, (150, 150), 9, 0, -1)  # a hole smaller than the band
    cv2.rectangle(mask, (2, 20), (7, 270), 255, -1)  # a bar of its own, thinner than twice the band
    trimap = trimap_from_mask(mask, Width(15), Width(15))
    assert trimap[150, 150] == 0
    assert (trimap[40:250, 4:6] == 255).all()
    assert (trimap[150, 45:50] == 255).all()  # the disc itself


def test_thin_parts_of_an_object_become_unknown_not_background():
    mask = disc(300, 80)
    cv2.line(mask, (150, 150), (150, 5), 255, 3)
    trimap = trimap_from_mask(mask, Width(10), Width(10))
    assert set(np.unique(trimap[10:60, 150])) == {128}


def test_soft_values_are_unknown_with_the_band_around_them():
    values = np.zeros((20, 40), np.uint8)
    values[:, 10:20], values[:, 20:] = 60, 255
    row = trimap_from_mask(values, Width(2), Width(3))[0]
    assert [(row == value).sum() for value in (0, 128, 255)] == [7, 15, 18]


def test_full_and_empty_masks_have_no_band():
    for value in (0, 255):
        assert (trimap_from_mask(np.full((9, 9), value, np.uint8)) == value).all()


def test_instances_see_each_other_as_background():
    labels = np.zeros((50, 100), np.uint8)
    labels[10:40, 10:40], labels[10:40, 60:90] = 1, 7
    trimaps = instance_trimaps(labels, Width(3), Width(3))
    assert list(trimaps) == [1, 7]
    assert (trimaps[1][25, 25], trimaps[1][25, 75]) == (255, 0)
    assert (trimaps[7][25, 25], trimaps[7][25, 75]) == (0, 255)


def test_reads_every_kind_of_mask(tmp_path):
    soft = cv2.GaussianBlur(disc(40, 12), (5, 5), 0)
    hard = np.where(soft >= 128, 255, 0)
    rgb = np.full((40, 40, 3), 9, np.uint8)
    Image.fromarray(np.dstack([rgb, soft])).save(tmp_path / "rgba.png")
    Image.fromarray(soft).save(tmp_path / "grey.png")
    Image.fromarray(soft).save(tmp_path / "grey.jpg", quality=60)
    Image.fromarray(hard > 0).save(tmp_path / "bits.png")
    Image.fromarray(soft.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([soft * 0, soft, soft * 0])).save(tmp_path / "green.png")
    assert np.array_equal(read_mask(tmp_path / "rgba.png"), soft)
    assert np.array_equal(read_mask(tmp_path / "rgba.png", "mask"), hard)
    for name in ("grey.png", "bits.png", "deep.png", "green.png"):
        assert np.array_equal(read_mask(tmp_path / name), hard), name
    assert np.array_equal(read_mask(tmp_path / "deep.png", "alpha"), soft)
    assert set(np.unique(read_mask(tmp_path / "grey.jpg"))) == {0, 255}


def test_an_alpha_channel_that_is_opaque_everywhere_is_no_mask(tmp_path, caplog):
    hard = disc(32, 9)
    picture = Image.fromarray(hard).convert("RGBA")
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "a.webp", lossless=True, save_all=True, append_images=[picture.rotate(90)])
    for kind in ("auto", "mask", "alpha"):
        assert np.array_equal(read_mask(tmp_path / "a.png", kind), hard)
    assert not caplog.records
    assert np.array_equal(read_mask(tmp_path / "a.webp"), hard)
    assert "the first one is read" in caplog.text


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_of_zeros_and_ones_are_read_with_a_line(tmp_path, dtype, caplog):
    hard = disc(32, 9)
    cv2.imwrite(str(tmp_path / "a.png"), (hard > 0).astype(dtype))
    assert np.array_equal(read_mask(tmp_path / "a.png"), hard)
    assert "no value above 1, which is taken for white" in caplog.text


def test_palette_indices_are_instances_and_colour_is_not(tmp_path):
    labels = np.zeros((8, 8), np.uint8)
    labels[2:4], labels[5:7] = 1, 2
    palette = Image.fromarray(labels, "P")
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    palette.save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png", "instances"), labels)
    Image.fromarray(labels.astype(np.int32) * 70_000).save(tmp_path / "a.tif")
    assert np.array_equal(read_mask(tmp_path / "a.tif", "instances"), labels.astype(np.int32) * 70_000)
    Image.new("RGB", (3, 3)).save(tmp_path / "b.png")
    with pytest.raises(FileError, match="one number per object"):
        read_mask(tmp_path / "b.png", "instances")


@pytest.mark.parametrize("kind", ["auto", "alpha", "instances"])
@pytest.mark.parametrize("factor", [0.5, 3])
def test_a_mask_of_another_size_is_resized_with_a_line(tmp_path, caplog, kind, factor):
    Image.fromarray(disc(40, 12)[:30]).save(tmp_path / "a.png")
    size = int(30 * factor), int(40 * factor)
    with caplog.at_level(logging.WARNING):
        read = read_mask(tmp_path / "a.png", kind, size)
    expected = cv2.resize(disc(40, 12)[:30], size[::-1], interpolation=cv2.INTER_AREA)
    assert read.shape == size and np.abs((read >= 128).astype(int) - (expected >= 128)).mean() < 0.04
    assert kind == "alpha" or set(np.unique(read)) == {0, 255}
    (record,) = caplog.records
    assert f"mask is 40 x 30, resized to the {size[1]} x {size[0]} of its image" in record.getMessage()


def test_a_mask_of_another_shape_is_refused(tmp_path):
    Image.fromarray(disc(40, 12)[:30]).save(tmp_path / "a.png")
    with pytest.raises(FileError, match="mask is 40 x 30 but image is 300 x 400, which is another shape"):
        read_mask(tmp_path / "a.png", size=(400, 300))
    assert read_mask(tmp_path / "a.png", size=(31, 40)).shape == (31, 40)  # a row lost in rounding


def test_drawn_widths_of_a_name_that_is_no_utf_8():
    assert drawn_widths(Width(9), Width(9), 1, "\udcff") == drawn_widths(Width(9), Width(9), 1, "\udcff")


@pytest.mark.parametrize("text", ["", "x", "-3", "120%", "nan", "12 furlongs"])
def test_bad_widths_are_refused(text):
    with pytest.raises(ValueError, match="width"):
        Width.parse(text)


def test_widths_are_parsed():
    assert (Width.parse("12"), Width.parse("12px"), Width.parse(" 2.5% ")) == (Width(12), Width(12), Width(0.025, True))
