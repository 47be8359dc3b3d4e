import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from data.files import FileError, read_alpha, read_colours
from data.products.backgrounds import Background
from engine.batch.outputs import KINDS, Outputs
from tests.data.folders import read_exr

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def photo(tmp_path):
    """Red disc with a soft edge on blue: path, image, trimap, alpha."""
    alpha = cv2.GaussianBlur(cv2.circle(np.zeros((60, 80), np.float32), (40, 30), 15, 1, -1), (0, 0), 2)
    alpha = np.rint(alpha * 255) / np.float32(255)
    image = np.rint(alpha[..., None] * (200, 20, 20) + (1 - alpha[..., None]) * (20, 20, 200)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.png", icc_profile=ICC)
    trimap = np.where(alpha == 0, 0, np.where(alpha == 1, 255, 128)).astype(np.uint8)
    return tmp_path / "photo.png", image, trimap, alpha


def test_all_kinds_at_once(photo, tmp_path):
    path, image, trimap, alpha = photo
    outputs = Outputs(KINDS, background=Background.parse("#00c800"))
    target = tmp_path / "out.png"
    assert not outputs.complete(target, "inputs")
    outputs.write(target, path, image, trimap, alpha, [np.ones((4, 5), bool)], inputs="inputs")
    assert outputs.complete(target, "inputs") and not outputs.complete(target, "others")
    assert sorted(item.name for item in tmp_path.glob("out*")) == [
        "out.png",
        "out_composite.png",
        "out_foreground.png",
        "out_preview.png",
        "out_rgba.png",
    ]
    soft = (alpha > 0.05) & (alpha < 0.95)
    with Image.open(tmp_path / "out_rgba.png") as cut:
        pixels = np.asarray(cut).astype(int)
        assert cut.info["icc_profile"] == ICC
    assert np.array_equal(pixels[..., 3], np.rint(alpha * 255))
    assert np.abs(pixels[soft][:, :3] - (200, 20, 20)).mean() < 3  # no blue fringe
    assert np.array_equal(pixels[alpha == 1][:, :3], image[alpha == 1])
    expected = alpha[..., None] * (200, 20, 20) + (1 - alpha[..., None]) * (0, 200, 0)
    assert np.abs(read_colours(tmp_path / "out_composite.png") - expected).mean() < 1
    assert np.array_equal(read_alpha(target), np.rint(alpha * 255))


def test_deep_photographs_keep_their_depth(photo, tmp_path):
    _, image, trimap, alpha = photo
    deep = image.astype(np.uint16) * 257 + 3
    cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    for suffix, depth in ((".png", "16"), (".tiff", "16")):
        Outputs(["foreground"], suffix, depth).write(tmp_path / "f.png", tmp_path / "deep.png", image, trimap, alpha)
        back = read_colours(tmp_path / f"f{suffix}")
        assert back.dtype == np.uint16 and np.array_equal(back[alpha == 1], deep[alpha == 1])


def test_exr_cutouts_are_linear(photo, tmp_path):
    path, image, trimap, alpha = photo
    Outputs(["rgba"], ".exr", "float").write(tmp_path / "c.png", path, image, trimap, alpha)
    back = read_exr(tmp_path / "c.exr")
    assert np.array_equal(back[..., 3], alpha)
    assert back[30, 40, 0] == pytest.approx(((200 / 255 + 0.055) / 1.055) ** 2.4, rel=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kinds": []},
        {"kinds": ["rgba", "rgba"]},
        {"kinds": ["matte"]},
        {"kinds": ["composite"]},
        {"background": Background((0, 0, 0))},
        {"suffix": ".jpg"},
        {"suffix": ".exr", "depth": "16"},
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match=r"output|written|depth|background"):
        Outputs(**wrong)


def test_a_photograph_of_another_size_leaves_nothing(photo, tmp_path):
    path, image, trimap, alpha = photo
    with pytest.raises(FileError, match="resize"):
        Outputs(["rgba"]).write(tmp_path / "o.png", path, image, trimap, alpha[:-1])
    assert not (tmp_path / "o.png").exists()


SETTINGS = {
    "alpha": Outputs(),
    "deep alpha": Outputs(bit_depth=16),
    "rgba": Outputs(["rgba"]),
    "deep rgba": Outputs(["rgba"], depth="16"),
    "premultiplied": Outputs(["rgba"], premultiplied=True),
    "white": Outputs(["composite"], background=Background((255, 255, 255))),
    "black": Outputs(["composite"], background=Background((0, 0, 0))),
    "foreground": Outputs(["foreground"]),
    "preview": Outputs(["preview"]),
    "other weights": Outputs(origin={"checkpoint": "b"}),
}


@pytest.mark.parametrize("first", SETTINGS)
def test_only_files_of_the_same_settings_count_as_finished(photo, tmp_path, first):
    path, image, trimap, alpha = photo
    target = tmp_path / "out.png"
    SETTINGS[first].write(target, path, image, trimap, alpha, inputs="x")
    assert [name for name, outputs in SETTINGS.items() if outputs.complete(target, "x")] == [first]


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".exr"])
def test_damaged_and_foreign_files_are_not_finished(photo, tmp_path, suffix):
    path, image, trimap, alpha = photo
    outputs, target = Outputs(["rgba"], suffix), tmp_path / "out.png"
    outputs.write(target, path, image, trimap, alpha, inputs="x")
    file = tmp_path / f"out{suffix}"
    whole = file.read_bytes()
    assert outputs.complete(target, "x")
    for content in (b"", whole[: len(whole) // 2], whole[:200], b"some text"):
        file.write_bytes(content)
        assert not outputs.complete(target, "x")


def test_another_background_picture_of_the_same_name_makes_another_composite(photo, tmp_path):
    path, image, trimap, alpha = photo
    target, wall = tmp_path / "out.png", tmp_path / "wall.png"
    for shade, finished in ((10, True), (20, False)):
        Image.new("RGB", (90, 70), (shade, shade, shade)).save(wall)
        outputs = Outputs(["composite"], background=Background.parse(str(wall)))
        if finished:
            outputs.write(target, path, image, trimap, alpha, name="a", inputs="x")
        assert outputs.complete(target, "x", "a") == finished
