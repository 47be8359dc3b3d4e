from pathlib import Path

import cv2
import numpy as np
import pytest

from data.bands import Band
from data.files import FileError
from data.guidance import Guidance
from data.masks import Width, trimap_from_mask
from data.selections import Box


@pytest.fixture
def image() -> np.ndarray:
    picture = np.full((80, 120, 3), (60, 120, 60), np.uint8)
    cv2.circle(picture, (60, 40), 20, (210, 120, 30), -1)
    return picture


def saved(path: Path, size: tuple[int, int], value: int = 255) -> Path:
    mask = cv2.ellipse(
        np.zeros(size, np.uint8), (size[1] // 2, size[0] // 2), (size[1] // 6, size[0] // 4), 0, 0, 360, value, -1
    )
    cv2.imwrite(str(path), mask)
    return path


def test_a_mask_of_another_size_is_resized_with_a_line(
    image: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fixed = Guidance(band=Band(Width(4), Width(4)))
    trimap = fixed.trimap(image, saved(tmp_path / "half.png", (40, 60)))
    assert "mask is 60 x 40, resized to the 120 x 80 of its image" in caplog.text
    expected = fixed.trimap(image, saved(tmp_path / "full.png", (80, 120)))
    assert (trimap != expected).mean() < 0.05
    assert set(np.unique(trimap)) == {0, 128, 255}


def test_a_mask_of_another_shape_and_an_empty_one_are_refused(image: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="which is another shape"):
        Guidance().trimap(image, saved(tmp_path / "turned.png", (120, 80)))
    with pytest.raises(FileError, match="the mask is empty"):
        Guidance().trimap(image, saved(tmp_path / "empty.png", (80, 120), value=0))


def test_boxes_stand_in_for_masks(image: np.ndarray) -> None:
    trimap = Guidance(boxes=(Box(0.25, 0.15, 0.5, 0.7, relative=True),)).trimap(image, None)
    assert trimap[40, 60] == 255
    assert trimap[2, 2] == 0
    mask = np.zeros((80, 120), np.uint8)
    cv2.circle(mask, (60, 40), 20, 255, -1)
    assert (np.abs(trimap.astype(int) - trimap_from_mask(mask, Width(1), Width(1))) == 255).sum() == 0
