import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.files import FileError
from data.selections import Box, mask_from_boxes, mask_from_strokes, read_strokes


def photograph(height: int = 240, width: int = 320) -> tuple[np.ndarray, np.ndarray]:
    """Two orange balls on a meadow, and their mask."""
    rng = np.random.default_rng(0)
    mask = np.zeros((height, width), np.uint8)
    for centre in ((0.3, 0.5), (0.75, 0.5)):
        cv2.circle(mask, (round(centre[0] * width), round(centre[1] * height)), round(0.16 * height), 255, -1)
    picture = np.where(mask[..., None] > 0, np.array([210, 120, 30]), np.array([50, 120, 60]))
    return np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8), mask


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    return np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth)


def left_only(mask: np.ndarray) -> np.ndarray:
    result = mask.copy()
    result[:, mask.shape[1] // 2 :] = 0
    return result


def strokes(height: int, width: int, surroundings: bool = True) -> np.ndarray:
    marked = np.zeros((height, width), np.uint8)
    thickness = max(2, width // 100)
    cv2.line(marked, (int(0.26 * width), height // 2), (int(0.34 * width), height // 2), 255, thickness)
    if surroundings:
        cv2.line(marked, (width // 10, height // 8), (9 * width // 10, height // 8), 128, thickness)
        cv2.line(marked, (width // 2, height // 3), (width // 2, height - 1), 128, thickness)
    return marked


def test_a_box_finds_its_object_and_several_boxes_find_several() -> None:
    image, mask = photograph()
    left, right = Box(50, 70, 92, 100), Box(60 / 100, 25 / 100, 30 / 100, 45 / 100, relative=True)
    assert overlap(mask_from_boxes(image, [left]), left_only(mask)) > 0.97
    assert overlap(mask_from_boxes(image, [left, right]), mask) > 0.97


def test_strokes_correct_what_a_box_finds() -> None:
    image, mask = photograph()
    marked = np.zeros(mask.shape, np.uint8)
    cv2.circle(marked, (240, 120), 30, 128, -1)
    found = mask_from_boxes(image, [Box(40, 60, 270, 120)], marked)
    assert overlap(found, left_only(mask)) > 0.9


def test_a_large_photograph_is_refined_at_full_size() -> None:
    image, mask = photograph(1200, 1600)
    assert overlap(mask_from_boxes(image, [Box(260, 370, 440, 460)]), left_only(mask)) > 0.985


@pytest.mark.parametrize("surroundings", [True, False])
def test_strokes_find_what_they_mark(surroundings: bool) -> None:
    image, mask = photograph()
    found = mask_from_strokes(image, strokes(*mask.shape, surroundings))
    assert overlap(found, left_only(mask)) > 0.97


def test_strokes_on_twelve_megapixels_take_a_moment() -> None:
    image, mask = photograph(3000, 4000)
    start = time.process_time()
    found = mask_from_strokes(image, strokes(*mask.shape))
    assert time.process_time() - start < 2.0  # half of it on an idle core
    assert overlap(found, left_only(mask)) > 0.985


def test_what_was_marked_is_what_it_was_marked_as() -> None:
    image, mask = photograph()
    marked = strokes(*mask.shape)
    marked[5:9, 5:9] = 255
    found = mask_from_strokes(image, marked)
    assert (found[marked == 255] == 255).all()
    assert (found[marked == 128] == 0).all()


def test_strokes_of_one_kind_and_other_sizes_are_refused_with_the_remedy() -> None:
    image, mask = photograph()
    only = np.where(strokes(*mask.shape) == 128, np.uint8(128), np.uint8(0))
    with pytest.raises(ValueError, match="no stroke marks the object: draw one on it"):
        mask_from_strokes(image, only)
    with pytest.raises(ValueError, match="draw them on the same picture"):
        mask_from_strokes(image, only[:5])


def test_strokes_all_over_and_tiny_pictures_do_not_fail() -> None:
    image, mask = photograph()
    assert mask_from_strokes(image, np.full(mask.shape, 255, np.uint8)).shape == mask.shape
    tiny = np.zeros((1, 1, 3), np.uint8)
    assert mask_from_strokes(tiny, np.full((1, 1), 255, np.uint8)).shape == (1, 1)


@pytest.mark.parametrize("box", [Box(-50, -50, 40, 40), Box(400, 0, 50, 50), Box(5, 5, 1, 90), Box(9, 9, -5, 5)])
def test_boxes_outside_are_refused(box: Box) -> None:
    with pytest.raises(ValueError, match="outside the picture of 320 x 240 pixels, or is too small"):
        mask_from_boxes(photograph()[0], [box])


def test_boxes_beyond_the_frame_and_around_everything_are_cut() -> None:
    image, mask = photograph()
    assert overlap(mask_from_boxes(image, [Box(-20, -20, 700, 700)]), mask) > 0.95
    with pytest.raises(ValueError, match="no box is given"):
        mask_from_boxes(image, [])


def test_boxes_are_parsed_in_pixels_and_per_cent() -> None:
    assert Box.parse("1, 2,30.5,40") == Box(1, 2, 30.5, 40)
    relative = Box.parse("10%,5%,80%,90%")
    assert relative.pixels(200, 100) == (10, 190, 10, 90)
    assert str(relative) == "10%,5%,80%,90%"
    for text in ("", "1,2,3", "1,2,3,x", "1%,2,3,4", "nan,1,2,3", "1,2,3,4,5"):
        with pytest.raises(ValueError, match="is no box: write x,y,width,height"):
            Box.parse(text)


def test_strokes_are_read_by_colour(tmp_path: Path) -> None:
    drawn = np.zeros((9, 9, 4), np.uint8)
    drawn[1, 1], drawn[2, 2], drawn[3, 3], drawn[4, 4] = (
        (0, 255, 0, 255),
        (0, 0, 255, 255),
        (9, 9, 9, 255),
        (0, 255, 0, 9),
    )
    cv2.imwrite(str(tmp_path / "strokes.png"), drawn)  # BGRA: green, red, black, all but transparent
    found = read_strokes(tmp_path / "strokes.png")
    assert (found[1, 1], found[2, 2], found[3, 3], found[4, 4]) == (255, 128, 128, 0)
    assert np.count_nonzero(found) == 3
    cv2.imwrite(str(tmp_path / "grey.png"), np.where(drawn[..., 1] > 200, 255, 0).astype(np.uint8))
    assert read_strokes(tmp_path / "grey.png")[1, 1] == 255
    cv2.imwrite(str(tmp_path / "none.png"), np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(FileError, match="holds no strokes"):
        read_strokes(tmp_path / "none.png")
