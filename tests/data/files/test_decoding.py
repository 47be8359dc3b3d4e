"""Formats that are easily misread, and files that no decoder should see."""

import io
import logging
import os
import shutil
import stat
import struct
import threading

import cv2
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image, ImageCms

from data import files
from data.files import FileError, read_alpha, read_colours, read_image, read_metadata, read_trimap
from data.masks import read_mask

RNG = np.random.default_rng(5)
DEEP = RNG.integers(0, 65536, (9, 7, 3), np.uint16)
READERS = (read_image, read_colours, read_alpha, read_trimap, read_mask, read_metadata, files.image_size, files.decode)


def tiff(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("alpha", [False, True])
def test_16_bit_tiff_in_separate_planes(tmp_path, compression, alpha):
    pixels = np.dstack([DEEP, DEEP[..., :1]]) if alpha else DEEP
    content = tiff(
        np.moveaxis(pixels, 2, 0),
        photometric="rgb",
        planarconfig="separate",
        compression=compression,
        extrasamples=["unassalpha"] if alpha else None,
    )
    (tmp_path / "a.tif").write_bytes(content)
    assert np.array_equal(read_colours(tmp_path / "a.tif"), DEEP)
    assert np.array_equal(files.decode(tmp_path / "a.tif", alpha=True).pixels, pixels)
    (tmp_path / "a.tif").write_bytes(content[:-3])
    with pytest.raises(FileError, match=r"a\.tif: damaged or incomplete image"):
        read_colours(tmp_path / "a.tif")


def test_16_bit_tiff_in_separate_planes_is_turned_upright(tmp_path):
    tag = [(0x0112, "H", 1, 6, True)]
    (tmp_path / "a.tif").write_bytes(
        tiff(np.moveaxis(DEEP, 2, 0), photometric="rgb", planarconfig="separate", extratags=tag)
    )
    assert np.array_equal(read_colours(tmp_path / "a.tif"), np.rot90(DEEP, -1))
    assert files.image_size(tmp_path / "a.tif") == (7, 9)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_whose_zero_is_white_is_inverted(tmp_path, dtype):
    values = RNG.integers(0, np.iinfo(dtype).max, (9, 7)).astype(dtype)
    (tmp_path / "a.tif").write_bytes(tiff(values, photometric="miniswhite"))
    assert np.array_equal(read_alpha(tmp_path / "a.tif"), ~values)
    trimap = np.array([[0, 255, 255, 255]]).astype(dtype) * dtype(257 if dtype == np.uint16 else 1)
    (tmp_path / "t.tif").write_bytes(tiff(trimap, photometric="miniswhite"))
    assert read_trimap(tmp_path / "t.tif").tolist() == [[255, 0, 0, 0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(np.zeros((4, 4, 3), np.float32), photometric="rgb"), "holds floating-point numbers; convert it to 8 or"),
        (tiff(np.zeros((4, 4, 4), np.uint16), photometric="separated"), "16-bit TIFF files are read as grey or RGB"),
        (tiff(np.zeros((4, 4), np.int8)), "holds signed numbers; convert it to unsigned 8 or 16 bits"),
        (
            tiff(np.zeros((4, 4, 3), np.uint32), photometric="rgb"),
            "has 32 bits per channel; convert it to 8 or 16 first",
        ),
        (tiff(np.zeros((4, 4), np.uint32)), "has 32 bits per channel; convert it to 8 or 16 first"),
    ],
)
def test_kinds_of_tiff_that_are_not_read_are_told_apart_from_damage(tmp_path, content, message):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(FileError, match=rf"a\.tif: {message}"):
        read_image(tmp_path / "a.tif")


def test_cmyk_with_the_profile_of_its_rgb_original_is_read(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (16, 16), (200, 100, 50)).convert("CMYK").save(
        tmp_path / "a.jpg", quality=100, icc_profile=profile
    )
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - (200, 100, 50)).max() <= 3


@pytest.mark.parametrize(
    ("kind", "count", "value"),
    [(2, 4, b"six\0"), (7, 1, b"\6\0\0\0"), (4, 1, b"\0\0\0\x80"), (11, 1, b"\0\0\xd0\x40")],
    ids=["text", "bytes", "too large", "float"],
)
def test_an_orientation_of_a_wrong_type_is_upright(tmp_path, kind, count, value):
    block = b"Exif\0\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHI", 0x0112, kind, count) + value + bytes(4)
    for name in ("a.png", "a.jpg"):
        Image.fromarray(np.uint8(DEEP >> 8)).save(tmp_path / name, exif=block)
        assert read_image(tmp_path / name).shape == (9, 7, 3)
        assert files.image_size(tmp_path / name) == (9, 7)
        read_metadata(tmp_path / name)


def test_postscript_in_a_mask_starts_no_program(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert shutil.which("gs") == str(tmp_path / "gs")
    (tmp_path / "mask.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    for read in READERS:
        with pytest.raises(FileError, match=r"mask\.png: is not a JPEG, PNG"):
            read(tmp_path / "mask.png")
    assert not (tmp_path / "called").exists()


def test_a_mask_of_thousands_of_scans_is_refused(tmp_path):
    buffer = io.BytesIO()
    Image.new("L", (2000, 2000), 128).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(data[:last] + data[last:-2] * 20_000 + data[-2:])
    for read in READERS:
        with pytest.raises(FileError, match=r"a\.jpg: has \d+ scans"):
            read(tmp_path / "a.jpg")


def test_pictures_above_the_limit_of_pillow_are_read(tmp_path, monkeypatch):
    Image.fromarray(np.eye(60, dtype=np.uint8) * 255).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # in place of 89 million; it raises from twice that on
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "a.png")
    for read in READERS:
        read(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png") > 0, np.eye(60) > 0)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_pipes_devices_and_files_of_the_kernel_are_not_opened(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "kernel.png").symlink_to("/proc/self/maps")
    for name in ("pipe", "zero", "kernel"):
        with pytest.raises(FileError, match=rf"{name}\.png: is a folder, a pipe or a device, not a file"):
            read(tmp_path / f"{name}.png")


def test_a_pipe_that_takes_the_place_of_a_picture_does_not_block(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.touch()
    status = os.stat

    def swapped(place, *args, **kwargs):
        result = status(place, *args, **kwargs)
        if str(place) == str(path) and stat.S_ISREG(result.st_mode):
            path.unlink()
            os.mkfifo(path)
        return result

    monkeypatch.setattr(os, "stat", swapped)
    failed = []

    def read() -> None:
        with pytest.raises(FileError, match=r"a\.png: is a folder, a pipe or a device"):
            read_image(path)
        failed.append(True)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(5)
    assert failed


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_of_several_pictures_the_first_is_read_and_said(tmp_path, kind, caplog):
    first = Image.new("RGB", (8, 6), (10, 20, 30))
    first.save(tmp_path / "a", kind, save_all=True, append_images=[Image.new("RGB", (8, 6), "white")], lossless=True)
    with caplog.at_level(logging.WARNING):
        assert (read_image(tmp_path / "a") == (10, 20, 30)).all()
    assert [record.getMessage().endswith("the first one is read") for record in caplog.records] == [True]


def test_heic_photographs(tmp_path):
    values = cv2.GaussianBlur(RNG.integers(0, 256, (48, 64, 3), np.uint8), (0, 0), 4)
    picture = pillow_heif.from_pillow(Image.fromarray(values))
    picture.save(tmp_path / "IMG_1.HEIC", quality=-1)
    read = read_image(tmp_path / "IMG_1.HEIC")
    assert np.abs(read.astype(int) - values).mean() < 2
    assert files.image_size(tmp_path / "IMG_1.HEIC") == (48, 64)
    content = (tmp_path / "IMG_1.HEIC").read_bytes()
    (tmp_path / "cut.heic").write_bytes(content[: len(content) // 2])
    with pytest.raises(FileError, match=r"cut\.heic: damaged or incomplete"):
        read_image(tmp_path / "cut.heic")


def test_heic_without_its_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("data.files.decoding.READS_HEIC", False)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x1cftypheic" + bytes(40))
    with pytest.raises(FileError, match=r"a\.heic: .*it is HEIC, which is read once pillow-heif is installed"):
        read_image(tmp_path / "a.heic")


@pytest.mark.parametrize("size", [(801, 1003), (5, 9), (3, 2), (1, 1)])
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path, size, reduction):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((*size, 3), 77, np.uint8))
    expected = tuple(-(-side // reduction) for side in size) if min(size) >= reduction else size
    assert read_image(tmp_path / "a.jpg", reduction).shape == (*expected, 3)
