"""Every readable kind of file is read right.

The fuzzing itself only tells results from crashes.
"""

import numpy as np
import pytest

from data.files import FileError, read_image
from tests.soak.pictures import SIDE, all_images, scene

READ = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "HEIC")
GREY = ("1", "L", "LA", "I", "I;16", "F")
TOLERANCE = 50  # mean over the pixels: noise at the lowest quality; mixed-up pixels are off by a hundred


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Picture shown by a file of these pixels and EXIF orientation."""
    if orientation in (2, 4, 5, 7):
        image = image[:, ::-1]
    turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    return np.rot90(image, turns)


def test_every_kind_of_file_is_read_right(tmp_path):
    picture = scene(np.random.default_rng(0))[..., :3]
    files = {
        name: content
        for name, content in all_images().items()
        if name.split()[0].upper() in READ and name[:9] != "WEBP I;16"
    }
    refused, wrong = [], []
    for name, content in files.items():
        (tmp_path / "a").write_bytes(content)
        try:
            found = read_image(tmp_path / "a").astype(int)
        except FileError as error:
            refused.append(f"{name}: {error}")
            continue
        words = name.split()
        expected = upright(picture, int(words[-1])) if words[-2] == "orientation" else picture
        is_grey = words[1] in GREY or np.ptp(found, axis=2).max() == 0
        if found.shape != expected.shape:
            wrong.append(f"{name}: {found.shape}")
        elif is_grey:  # grey: any weighting of the channels, between the darkest and the brightest of them
            low, high = expected.min(2) - 8, expected.max(2) + 8
            outside = ((found[..., 1] < low) | (found[..., 1] > high)).mean()
            if outside > 0.25 and words[1] != "1":
                wrong.append(f"{name}: {outside:.0%} of a grey picture is no grey of it")
        elif (error := np.abs(found - expected).mean()) > TOLERANCE:
            wrong.append(f"{name}: mean error {error:.0f}")
    assert not wrong, wrong
    assert [line for line in refused if "bits per channel" not in line] == []  # no whole file is called damaged


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_exif_says(orientation):
    from PIL import Image, ImageOps

    values = np.arange(SIDE[0] * SIDE[1]).reshape(SIDE).astype(np.uint8)
    image = Image.fromarray(values)
    image.getexif()[0x0112] = orientation
    assert np.array_equal(ImageOps.exif_transpose(image), upright(values, orientation))
