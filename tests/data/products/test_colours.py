import io

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from data.files import FileError, Metadata, quantise, read_colours, read_metadata
from data.products.colours import extend_colours, srgb_to_linear, write_colours
from tests.data.folders import read_exr

RNG = np.random.default_rng(0)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
BITS = {"8": np.uint8, "16": np.uint16}


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """The inverse of `srgb_to_linear`."""
    linear = linear.astype(np.float32)
    root = np.maximum(linear, 0) ** (1 / 2.4)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * root - 0.055).astype(np.float32)


def layers(bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stored values, and colours and alpha as floats."""
    stored = RNG.integers(0, 2**bits, (13, 11, 4)).astype(np.float64)
    values = (stored / (2**bits - 1)).astype(np.float32)
    return stored, values[..., :3], values[..., 3]


def read_stored(path) -> np.ndarray:
    if path.suffix != ".png":
        return tifffile.imread(path)
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3]]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("depth", BITS)
def test_integers_make_the_round_trip(tmp_path, suffix, depth):
    stored, colours, alpha = layers(int(depth))
    path = tmp_path / f"a{suffix}"
    write_colours(path, colours, alpha, depth=depth, metadata=Metadata(ICC))
    back = read_stored(path)
    assert back.dtype == BITS[depth]
    assert np.array_equal(back, stored)
    assert Image.open(path).info["icc_profile"] == ICC
    write_colours(path, colours, depth=depth)
    assert np.array_equal(read_colours(path), stored[..., :3])


@pytest.mark.parametrize("depth, bits", [("float", 16), ("float", 8), ("half", 8)])
def test_linear_light_makes_the_round_trip(tmp_path, depth, bits):
    stored, colours, alpha = layers(bits)
    write_colours(tmp_path / "a.exr", colours, alpha, depth=depth)
    back = read_exr(tmp_path / "a.exr")
    assert back.dtype == (np.float16 if depth == "half" else np.float32)
    assert np.array_equal(quantise(linear_to_srgb(back[..., :3]), bits), stored[..., :3])
    assert np.array_equal(quantise(back[..., 3].astype(np.float32), bits), stored[..., 3])  # alpha is no light
    assert depth == "half" or np.array_equal(back[..., 3], alpha)


@pytest.mark.parametrize("shape", [(1, 9), (40, 60), (33, 17)])
def test_nothing_of_the_background_stays_under_alpha_zero(shape):
    alpha = np.zeros(shape, np.float32)
    alpha[0, 2:5] = 0.5
    colours = RNG.random((*shape, 3), dtype=np.float32) * 0.1
    colours[alpha > 0] = 0.8
    extended = extend_colours(colours, alpha)
    assert np.array_equal(extended[alpha > 0], colours[alpha > 0])
    assert np.allclose(extended, 0.8, atol=1e-4)


def test_the_curve_is_srgbs():
    assert np.allclose(srgb_to_linear(np.array([0, 0.04045, 0.5, 1])), [0, 0.0031308, 0.21404114, 1], atol=1e-6)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.exr"])
def test_straight_unless_premultiplied(tmp_path, name):
    colours, alpha = np.full((4, 5, 3), 0.8, np.float32), np.full((4, 5), 0.5, np.float32)
    depth, light = ("float", srgb_to_linear(np.float32(0.8))) if name == "a.exr" else ("16", 0.8)
    for premultiplied in (False, True):
        write_colours(tmp_path / name, colours, alpha, depth=depth, premultiplied=premultiplied)
        back = read_exr(tmp_path / name) if name == "a.exr" else read_stored(tmp_path / name) / 65535
        assert back[0, 0, 0] == pytest.approx(light * (0.5 if premultiplied else 1), abs=1e-5)
        assert back[0, 0, 3] == pytest.approx(0.5, abs=1e-5)
        if name == "a.tif":
            samples = tifffile.TiffFile(tmp_path / name).pages[0].extrasamples
            assert samples[0] == (tifffile.EXTRASAMPLE.ASSOCALPHA if premultiplied else tifffile.EXTRASAMPLE.UNASSALPHA)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_gives_an_upright_cutout(tmp_path, orientation):
    upright = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    as_stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: upright.swapaxes(0, 1)[::-1],
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: upright.swapaxes(0, 1)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "by hand"
    Image.fromarray(np.ascontiguousarray(as_stored)).save(tmp_path / "photo.png", exif=exif, icc_profile=ICC)
    colours, metadata = read_colours(tmp_path / "photo.png"), read_metadata(tmp_path / "photo.png")
    write_colours(tmp_path / "cut.png", colours / np.float32(255), np.ones((6, 9), np.float32), metadata=metadata)
    with Image.open(tmp_path / "cut.png") as cut:
        assert np.array_equal(np.asarray(cut)[..., :3], upright)
        assert (cut.getexif()[0x0112], cut.getexif()[0x010E], cut.info["icc_profile"]) == (1, "by hand", ICC)


def test_profiles_that_do_not_fit_rgb_are_left_out(tmp_path):
    grey = bytearray(ICC)
    grey[16:20] = b"GRAY"
    Image.new("L", (4, 4)).save(tmp_path / "a.png", icc_profile=bytes(grey))
    assert read_metadata(tmp_path / "a.png") == Metadata()


@pytest.mark.parametrize("name, depth", [("a.jpg", "8"), ("a.png", "half"), ("a.exr", "8"), ("a", "8")])
def test_what_cannot_be_written_is_refused_before(tmp_path, name, depth):
    with pytest.raises(ValueError, match=r"written as|have depth"):
        write_colours(tmp_path / name, np.zeros((2, 2, 3), np.float32), depth=depth)
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(io.BytesIO(b"nothing").getvalue())
    with pytest.raises(FileError, match=r"a\.png"):
        read_metadata(tmp_path / "a.png")
