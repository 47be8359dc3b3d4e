"""Photographs, alphas and trimaps as they are read: colour, depth, orientation, completeness."""

import io
import logging
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.files import FileError, image_size, read_alpha, read_image, read_trimap
from tests.soak.pictures import jpeg_of_many_scans

COLOUR = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (9, 7, 3), dtype=np.uint16)

# what a viewer does with each EXIF orientation, written out by row and column
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width: int, height: int, depth: int, colour_type: int, pixels: np.ndarray, extra: bytes = b"") -> bytes:
    """PNG written by hand, for kinds that no library here writes.

    `pixels` are (H, W) or (H, W, C).
    """
    rows = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in pixels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp", "tif"])
def test_colour_survives_lossless_files(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOUR).save(path, **({"lossless": True} if suffix == "webp" else {}))
    pixels = read_image(path)
    assert np.array_equal(pixels, COLOUR)
    assert pixels.flags.writeable and pixels.flags.c_contiguous  # what torch.from_numpy asks for
    assert image_size(path) == (9, 7)


def test_jpeg_is_rgb(tmp_path):
    Image.new("RGB", (16, 16), (250, 10, 20)).save(tmp_path / "a.jpg")
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - (250, 10, 20)).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_orientation(tmp_path, suffix, orientation):
    image = Image.fromarray(COLOUR)
    plain, turned = tmp_path / f"plain.{suffix}", tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(plain)
    image.save(turned, exif=exif)
    expected = UPRIGHT[orientation](read_image(plain))
    assert np.array_equal(read_image(turned), expected)
    assert image_size(turned) == expected.shape[:2]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_16_bit_files(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    (tmp_path / "a.png").write_bytes(raw_png(7, 9, 16, 2, DEEP, chunk(b"eXIf", block)))
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "a.tif", tiffinfo={0x0112: orientation})
    for path in (tmp_path / "a.png", tmp_path / "a.tif"):
        expected = UPRIGHT[orientation](DEEP[..., 0])
        assert np.array_equal(read_alpha(path), expected)
        assert image_size(path) == expected.shape


def test_damaged_exif_does_not_cost_the_picture(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert np.array_equal(read_image(tmp_path / "a.png"), COLOUR)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_modes_of_png(tmp_path, mode):
    image = Image.fromarray(COLOUR).convert(mode)
    image.save(tmp_path / "a.png")
    expected = np.asarray(image.convert("RGBA"))[..., :3]
    assert np.array_equal(read_image(tmp_path / "a.png"), expected)
    assert np.array_equal(read_alpha(tmp_path / "a.png"), expected[..., 0])


def test_palette_with_transparency_keeps_its_colours(tmp_path):
    image = Image.fromarray(COLOUR[..., 0]).convert("P")
    image.save(tmp_path / "a.png", transparency=bytes(range(256)))
    assert np.array_equal(read_image(tmp_path / "a.png"), np.repeat(COLOUR[..., :1], 3, axis=2))


def test_colour_under_zero_alpha_is_kept(tmp_path):
    Image.fromarray(np.dstack([COLOUR, np.zeros((9, 7), np.uint8)])).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), COLOUR)


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_16_bit_png_is_rounded_for_images_and_kept_for_alphas(tmp_path, colour_type, channels):
    pixels = np.random.default_rng(2).integers(0, 65536, (9, 7, channels), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(raw_png(7, 9, 16, colour_type, pixels))
    assert np.array_equal(read_alpha(tmp_path / "a.png"), pixels[..., 0])
    colour = pixels[..., :3] if channels >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.rint(colour / 257).astype(np.uint8))


def test_16_bit_colour_tiff(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), DEEP[..., ::-1])
    assert np.array_equal(read_alpha(tmp_path / "a.tif"), DEEP[..., 0])
    assert np.array_equal(read_image(tmp_path / "a.tif"), np.rint(DEEP / 257).astype(np.uint8))


def test_cmyk_jpeg_is_converted(tmp_path):
    Image.new("RGB", (16, 16), (200, 100, 50)).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - (200, 100, 50)).max() <= 3


def test_cmyk_with_a_damaged_profile_is_one_line(tmp_path):
    Image.new("CMYK", (16, 16)).save(tmp_path / "a.jpg", icc_profile=b"no profile")
    with pytest.raises(FileError, match=r"a\.jpg: .*profile"):
        read_image(tmp_path / "a.jpg")


def test_32_bit_files_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(FileError, match=r"a\.tif: holds floating-point numbers; convert it to 8 or 16"):
        read_image(tmp_path / "a.tif")


def encoded(suffix: str, tmp_path: Path) -> bytes:
    path = tmp_path / f"whole.{suffix}"
    if suffix == "deep.png":
        path.write_bytes(raw_png(7, 9, 16, 2, DEEP))
    else:
        Image.fromarray(COLOUR).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif", "deep.png"])
def test_cut_off_at_any_byte_is_an_error_never_half_a_picture(tmp_path, suffix):
    data = encoded(suffix, tmp_path)
    whole = read_image(tmp_path / f"whole.{suffix}")
    path = tmp_path / "cut"
    accepted = 0
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            pixels = read_image(path)
        except FileError as error:
            assert str(path) in str(error)
        else:
            accepted += 1
            assert np.array_equal(pixels, whole)
    assert accepted <= (3 if suffix == "bmp" else 0)  # a BMP ends in up to three bytes of filling


@settings(max_examples=150, deadline=None)
@given(suffix=st.sampled_from(["jpg", "png", "webp", "tif", "deep.png"]), data=st.data())
def test_flipped_bytes_end_in_a_picture_or_one_line(tmp_path_factory, suffix, data):
    folder = tmp_path_factory.mktemp("flip", numbered=True)
    content = bytearray(encoded(suffix, folder))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "a").write_bytes(content)
    try:
        pixels = read_image(folder / "a")
    except FileError as error:
        assert "\n" not in str(error) and str(folder / "a") in str(error)
    else:
        assert pixels.dtype == np.uint8 and pixels.ndim == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"no image at all", r"is not a JPEG, PNG, WebP, BMP, TIFF or HEIC file \(judged by its content\)"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "is not a JPEG, PNG"),
        (b"\xff\xd8\xff\xe0 and no more", "damaged or incomplete image"),
        (raw_png(60_000, 60_000, 8, 0, COLOUR[..., 0]), "declares 60000 x 60000 pixels; sizes from 1 x 1 to 500 mega"),
    ],
)
def test_bad_content_is_named(tmp_path, content, message):
    (tmp_path / "a.png").write_bytes(content)
    for read in (read_image, read_alpha, read_trimap):
        with pytest.raises(FileError, match=r"a\.png: " + message):
            read(tmp_path / "a.png")


def test_clean_trimap_is_read_without_a_word(tmp_path, caplog):
    trimap = np.array([[0, 128, 255]], np.uint8)
    cv2.imwrite(str(tmp_path / "t.png"), trimap)
    assert np.array_equal(read_trimap(tmp_path / "t.png"), trimap)
    assert not caplog.records


def test_trimap_is_snapped_with_one_warning(tmp_path, caplog):
    values = np.array([[0, 1, 25, 26, 102, 127, 128, 129, 229, 230, 254, 255]], np.uint8)
    cv2.imwrite(str(tmp_path / "t.png"), values)
    with caplog.at_level(logging.WARNING):
        trimap = read_trimap(tmp_path / "t.png")
    assert trimap.tolist() == [[0] * 3 + [128] * 6 + [255] * 3]
    (record,) = caplog.records
    assert "t.png" in record.getMessage() and "snapped 9 of 12 pixels" in record.getMessage()


def test_grey_trimaps_may_be_stored_in_colour(tmp_path, caplog):
    grey = np.array([[0, 128, 255]], np.uint8)
    Image.fromarray(np.dstack([grey] * 3)).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([grey, grey, grey, np.full_like(grey, 77)])).save(tmp_path / "rgba.png")
    for name in ("rgb.png", "rgba.png"):
        assert np.array_equal(read_trimap(tmp_path / name), grey)
    assert not caplog.text


def test_16_bit_trimap_needs_no_snapping(tmp_path, caplog):
    cv2.imwrite(str(tmp_path / "t.png"), np.array([[0, 32768, 32896, 65535]], np.uint16))
    assert read_trimap(tmp_path / "t.png").tolist() == [[0, 128, 128, 255]]
    assert not caplog.records


def test_colours_of_an_overlay_are_unknown(tmp_path, caplog):
    overlay = np.zeros((4, 9, 3), np.uint8)
    overlay[:, 3:6], overlay[:, 6:] = (255, 40, 40), 255
    Image.fromarray(overlay).save(tmp_path / "t.png")
    assert read_trimap(tmp_path / "t.png")[0].tolist() == [0] * 3 + [128] * 3 + [255] * 3
    assert "snapped 12 of 36 pixels" in caplog.text


def test_a_jpeg_of_thousands_of_scans_is_refused_and_an_ordinary_progressive_one_is_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg_of_many_scans(20_000, 2000))  # 300 kB that take a minute to decode
    with pytest.raises(FileError, match=r"a\.jpg: has \d+ scans of 2000 x 2000 pixels; save it as an ordinary JPEG"):
        read_image(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(jpeg_of_many_scans(3, 200))
    assert read_image(tmp_path / "b.jpg").shape == (200, 200, 3)


def test_tiff_tags_of_no_length_are_damage(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).save(buffer, "TIFF")
    content = buffer.getvalue()
    entry = content.index(struct.pack("<HHI", 258, 3, 3))  # bits a channel
    (tmp_path / "a.tif").write_bytes(content[: entry + 2] + struct.pack("<HI", 2, 3) + content[entry + 8 :])
    with pytest.raises(FileError, match=r"a\.tif: damaged or incomplete image"):
        read_image(tmp_path / "a.tif")
