"""All accepted inputs of predict give the same alpha; others are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modeling import Predictor
from modeling.inference.pictures import image_array, mask_tensor, trimap_array
from tests.modeling.inference.test_predictor import pair
from tests.modeling.small import small_mematte

IMAGE, TRIMAP = pair(48, 40)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(small_mematte(), device="cpu")


@pytest.fixture(scope="module")
def alpha(predictor: Predictor) -> np.ndarray:
    return predictor.predict(IMAGE, TRIMAP)


def saved(folder: Path) -> tuple[Path, Path]:
    Image.fromarray(IMAGE).save(folder / "image.png")
    Image.fromarray(TRIMAP).save(folder / "trimap.png")
    return folder / "image.png", folder / "trimap.png"


def test_pictures_paths_and_lists(predictor: Predictor, alpha: np.ndarray, tmp_path: Path) -> None:
    paths = saved(tmp_path)
    pictures = Image.fromarray(IMAGE), Image.fromarray(TRIMAP)
    for image, trimap in (paths, map(str, paths), pictures, (IMAGE, paths[1]), (paths[0], torch.from_numpy(TRIMAP))):
        assert np.array_equal(predictor.predict(image, trimap), alpha)
    other = pair(33, 50)
    several = predictor.predict([IMAGE, other[0], paths[0]], [TRIMAP, other[1], paths[1]])
    assert [found.shape for found in several] == [(48, 40), (33, 50), (48, 40)]
    assert np.array_equal(several[0], alpha) and np.array_equal(several[2], alpha)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_tensors_alone_and_in_batches(predictor: Predictor, alpha: np.ndarray, kind: torch.dtype) -> None:
    image, trimap = torch.from_numpy(IMAGE).permute(2, 0, 1), torch.from_numpy(TRIMAP)[None]
    if kind == torch.float32:
        image, trimap = image / 255, torch.where(trimap == 128, 0.5, trimap / 255)
    found = predictor.predict(image, trimap)
    assert found.shape == (1, 48, 40) and np.array_equal(found[0].numpy(), alpha)
    images, trimaps = torch.stack([image, image.flip(-1)]), torch.stack([trimap, trimap.flip(-1)])
    both = predictor.predict(images, trimaps)
    assert both.shape == (2, 1, 48, 40)
    assert torch.equal(both[0], found) and torch.equal(both[1], predictor.predict(images[1], trimaps[1]))
    assert torch.equal(predictor.predict(images, trimaps[:, 0]), both)


def test_a_mask_instead_of_a_trimap(predictor: Predictor, tmp_path: Path) -> None:
    mask = np.zeros((48, 40), np.uint8)
    mask[10:40, 5:30] = 255
    found = predictor.predict(IMAGE, mask=mask)
    assert found[25, 17] == 1 and found[2, 35] == 0 and 0 < found[10, 17] < 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(np.dstack([IMAGE, mask])).save(tmp_path / "cutout.png")
    for other in (mask > 0, mask / 255, torch.from_numpy(mask), Image.fromarray(mask), tmp_path / "mask.png"):
        assert np.array_equal(predictor.predict(IMAGE, mask=other), found)
    assert np.array_equal(predictor.predict(IMAGE, mask=tmp_path / "cutout.png"), found)
    assert np.array_equal(predictor.predict([IMAGE], mask=[mask])[0], found)
    image = torch.from_numpy(IMAGE).permute(2, 0, 1)
    tensors = predictor.predict(torch.stack([image] * 2), mask=torch.stack([torch.from_numpy(mask)] * 2))
    assert np.array_equal(tensors[1, 0].numpy(), found)
    assert np.array_equal(predictor.predict(image, mask=mask)[0].numpy(), found)


def test_files_of_other_kinds_are_read_upright_as_8_bits(tmp_path: Path) -> None:
    turned = Image.fromarray(IMAGE).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(image_array(tmp_path / "turned.png"), IMAGE)
    Image.fromarray(TRIMAP.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert np.array_equal(trimap_array(tmp_path / "deep.png"), TRIMAP)
    Image.fromarray(np.uint8([[0, 25, 26, 127, 229, 230]])).save(tmp_path / "levels.png")
    assert trimap_array(tmp_path / "levels.png").tolist() == [[0, 0, 128, 128, 128, 255]]
    Image.fromarray(TRIMAP).convert("P").save(tmp_path / "palette.png")
    assert image_array(tmp_path / "palette.png").shape == (48, 40, 3)
    assert mask_tensor(Image.fromarray(TRIMAP).convert("1")).unique().tolist() == [0, 255]


GOOD = torch.zeros(3, 4, 5, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IMAGE,), "give either a trimap, or a mask of the foreground by mask=..., for each image"),
        (
            (None, TRIMAP),
            "image must be an array, a tensor, a Pillow picture or a path, or a list of them, not NoneType",
        ),
        ((IMAGE, 3), "trimap must be an array, .* not int"),
        (("nowhere.png", TRIMAP), r"image nowhere.png: cannot be read \(there is no such file\)"),
        ((__file__, TRIMAP), r"image .*test_pictures\.py: cannot be read \(cannot identify image file"),
        (([IMAGE, IMAGE], [TRIMAP]), "2 images need as many trimaps or masks"),
        (([IMAGE], TRIMAP), "1 images need as many trimaps or masks, and names or one name, in lists"),
        ((GOOD[0], GOOD[0]), r"image must be \(3, H, W\) or \(B, 3, H, W\), uint8 or float in \[0, 1\]; got \(4, 5\)"),
        (
            (GOOD.float() + 2, GOOD[0]),
            r"image of floats must be in \[0, 1\], got 2 to 2; divide it by its largest level",
        ),
        ((GOOD, GOOD[0, :3]), r"trimap is \(3, 5\) but image is \(3, 4, 5\)"),
        ((GOOD, GOOD[0].int()), "trimap must be uint8 of 0, 128, 255 or float of 0, 0.5, 1; got torch.int32"),
        ((GOOD, GOOD[0] + 7), r"trimap has values \[7\]\.\.\.; only 0, 128 and 255 are defined: snap it first"),
    ],
)
def test_what_it_does_not_take_is_told(predictor: Predictor, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predictor.predict(*arguments)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((4, 5), np.uint8), "the mask has no foreground pixels: there is no edge to refine"),
        (np.ones((4, 5), bool), "the mask has only foreground pixels"),
        (np.eye(5, dtype=bool), r"mask is \(5, 5\) but image is \(4, 5\); resize the mask first"),
        (np.zeros((4, 5), np.int64), r"mask must be \(H, W\), bool, uint8 or float in \[0, 1\]; got \(4, 5\) int64"),
        (np.full((4, 5), 7.0), r"mask of floats must be in \[0, 1\], got 7 to 7"),
    ],
)
def test_masks_that_it_does_not_take_are_told(predictor: Predictor, mask: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predictor.predict(np.zeros((4, 5, 3), np.uint8), mask=mask)


def test_a_mask_given_as_a_trimap_is_noticed(predictor: Predictor, caplog: pytest.LogCaptureFixture) -> None:
    predictor.predict(IMAGE, np.where(TRIMAP == 255, np.uint8(255), np.uint8(0)))
    assert "the trimap has no unknown pixels, so alpha is the trimap: is this a mask? Pass it as mask=" in caplog.text
    caplog.clear()
    for known in (TRIMAP, np.zeros_like(TRIMAP), np.full_like(TRIMAP, 255)):
        predictor.predict(IMAGE, known)
    assert not caplog.text
