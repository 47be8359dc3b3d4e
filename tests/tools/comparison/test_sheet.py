"""Contact sheets: what is where, at any size."""

import numpy as np
import pytest

from tools.comparison.disagreement import Box
from tools.comparison.sheet import CELL_PX, GAP_PX, TEXT_PX, Panel, fit_cell, framed, make_sheet

STEP = CELL_PX + GAP_PX


def panels(height: int, width: int) -> tuple[np.ndarray, np.ndarray, list[Panel]]:
    """Blue image, grey trimap, and mattes that differ in one corner."""
    image = np.full((height, width, 3), (0, 0, 255), np.uint8)
    mattes = np.zeros((2, height, width), np.uint8)
    mattes[1, : height // 2 + 1, : width // 2 + 1] = 255
    return image, np.full((height, width), 128, np.uint8), [Panel((f"m{i}",), matte) for i, matte in enumerate(mattes)]


def test_columns_are_image_trimap_mattes_truth():
    image, trimap, mattes = panels(160, 160)
    truth = Panel(("ground truth",), np.full((160, 160), 60, np.uint8))
    sheet = make_sheet(image, trimap, mattes, truth)
    assert sheet.dtype == np.uint8 and sheet.shape[1] == 5 * STEP
    top = TEXT_PX + GAP_PX
    low_right = sheet[top + int(0.9 * CELL_PX), np.arange(5) * STEP + int(0.9 * CELL_PX)]
    assert low_right.tolist() == [[0, 0, 255], [128] * 3, [0] * 3, [0] * 3, [60] * 3]
    crop = top + STEP + TEXT_PX + GAP_PX + CELL_PX // 2  # middle of the first crop
    assert sheet[crop, np.arange(5) * STEP + CELL_PX // 2].tolist() == [
        [0, 0, 255],
        [128] * 3,
        [0] * 3,
        [255] * 3,
        [60] * 3,
    ]


def test_labels_are_written_above():
    image, trimap, mattes = panels(64, 64)
    head = make_sheet(image, trimap, mattes, None)[: TEXT_PX + GAP_PX]
    ink = [(head[:, column * STEP : (column + 1) * STEP] < 100).any() for column in range(4)]
    assert ink == [True] * 4
    without = make_sheet(image, trimap, [Panel(("",), matte.pixels) for matte in mattes], None)[: TEXT_PX + GAP_PX]
    assert not (without[:, 2 * STEP :] < 100).any()
    long = [Panel(("a" * 45,), mattes[0].pixels), Panel(("",), None)]
    assert not (make_sheet(image, trimap, long, None)[: TEXT_PX + GAP_PX, 3 * STEP :] < 100).any()


def test_equal_mattes_and_missing_ones_give_no_crops():
    image, trimap, mattes = panels(64, 64)
    plain = make_sheet(image, trimap, [mattes[0], mattes[0]], None)
    assert plain.shape[0] == TEXT_PX + GAP_PX + STEP
    missing = make_sheet(image, trimap, [mattes[0], Panel(("failed",), None)], None)
    assert missing.shape == plain.shape
    assert missing[-STEP // 2, 3 * STEP + STEP // 2].tolist() == [200] * 3


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (900, 1), (37, 5), (500, 333)])
def test_any_size(size: tuple[int, int]):
    sheet = make_sheet(*panels(*size), None)
    assert sheet.shape[1:] == (4 * STEP, 3)
    assert sheet.shape[0] > TEXT_PX + GAP_PX


@pytest.mark.parametrize(
    ("size", "expected"), [((10, 20), (160, 320)), ((20, 10), (320, 320)), ((640, 640), (320, 320))]
)
def test_cells_keep_proportions(size: tuple[int, int], expected: tuple[int, int]):
    cell = fit_cell(np.zeros(size, np.uint8), size)
    assert cell.shape == (*expected, 3)
    black = np.argwhere(~cell.any(axis=2))
    height, width = black.max(axis=0) - black.min(axis=0) + 1
    assert width / height == pytest.approx(size[1] / size[0])


def test_frames_do_not_touch_the_image():
    image = np.zeros((200, 300, 3), np.uint8)
    marked = framed(image, [Box(10, 20, 50, 60)])
    assert not image.any()
    assert marked[10, 20:80].any(axis=1).all() and marked[10:60, 79].any(axis=1).all()
    assert not marked[100:].any()
