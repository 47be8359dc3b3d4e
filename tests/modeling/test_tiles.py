import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modeling.base import Encoding
from modeling.decoder.detail_capture import DetailCapture
from modeling.inference.vitmatte import decode_boxes
from modeling.inputs import published_size
from modeling.tiles import CELL_PX, HALO_CELLS, Box, cover, decoded_cells, grid, unknown_cells
from tests.modeling.small import WIDTH, small_vitmatte


def reach(decoder: DetailCapture, start: int, stop: int, along_rows: bool) -> tuple[int, int, int, int]:
    """Input pixels and cells before and after [start, stop) that matter."""
    cells = 12
    shape = (cells, 1) if along_rows else (1, cells)
    features = torch.rand(1, WIDTH, *shape, dtype=torch.float64, requires_grad=True)
    inputs = torch.rand(1, 4, CELL_PX * shape[0], CELL_PX * shape[1], dtype=torch.float64, requires_grad=True)
    logits = features
    for block, detail in zip(decoder.fusion_blks, reversed(decoder.convstream(inputs)), strict=True):
        logits = block(logits, detail)
    logits = decoder.matting_head(logits)
    part = logits[:, :, start:stop] if along_rows else logits[..., start:stop]
    part.sum().backward()
    across = (0, 1, 3) if along_rows else (0, 1, 2)
    touched = inputs.grad.abs().sum(dim=across).nonzero()[:, 0]
    cells_touched = features.grad.abs().sum(dim=across).nonzero()[:, 0]
    return (
        start - int(touched[0]),
        int(touched[-1]) + 1 - stop,
        start // CELL_PX - int(cells_touched[0]),
        int(cells_touched[-1]) + 1 - stop // CELL_PX,
    )


@pytest.mark.parametrize("along_rows", [True, False])
def test_the_halo_covers_what_the_decoder_reaches(along_rows: bool) -> None:
    decoder = small_vitmatte().decoder.double()
    with torch.no_grad():  # positive weights: no ReLU and no cancellation hides a dependency
        for tensor in decoder.state_dict().values():
            if tensor.is_floating_point():
                tensor.abs_().add_(0.01)
        for name, tensor in decoder.state_dict().items():
            if name.endswith("running_mean"):
                tensor.zero_()
    before, after, cells_before, cells_after = reach(decoder, 5 * CELL_PX, 7 * CELL_PX, along_rows)
    assert (before, after) == (31, 24)
    assert (cells_before, cells_after) == (2, 2)
    assert max(before, after) <= HALO_CELLS * CELL_PX
    assert max(cells_before, cells_after) <= HALO_CELLS


def tiled_and_whole(height: int, width: int, boxes: list[Box] | None = None, side: int = 3) -> float:
    """Largest difference between decoding in tiles and decoding the whole image."""
    model = small_vitmatte()
    rows, cols = (size // CELL_PX for size in published_size(height, width))
    generator = torch.Generator().manual_seed(height * 10007 + width)
    tokens = torch.randn(1, rows, cols, WIDTH, generator=generator)
    image = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8, generator=generator)
    trimap = torch.tensor([0, 128, 255], dtype=torch.uint8)[
        torch.randint(0, 3, (1, 1, height, width), generator=generator)
    ]
    with torch.no_grad():
        whole = decode_boxes(model, Encoding(tokens), image, trimap, [Box(0, rows, 0, cols)])
        tiled = decode_boxes(model, Encoding(tokens), image, trimap, boxes or grid(rows, cols, side))
    assert whole.shape == (1, 1, height, width)
    return float((whole - tiled).abs().max())


@pytest.mark.parametrize(
    ("height", "width"),
    [(1, 1), (15, 15), (17, 17), (31, 33), (33, 31), (1, 511), (511, 65), (513, 17), (1000, 37), (96, 128), (257, 300)],
)
def test_tiles_equal_the_whole(height: int, width: int) -> None:
    assert tiled_and_whole(height, width) <= 1e-6


@settings(max_examples=15)
@given(st.integers(1, 130), st.integers(1, 130), st.integers(1, 5))
def test_tiles_equal_the_whole_for_any_size(height: int, width: int, side: int) -> None:
    assert tiled_and_whole(height, width, side=side) <= 1e-6


masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


@given(masks, st.sampled_from([96 * 96, 200 * 200, 768 * 768]))
def test_a_cover_is_disjoint_complete_and_bounded(cells: np.ndarray, tile_px: int) -> None:
    count = np.zeros(cells.shape, int)
    for box in cover(cells, tile_px):
        count[box.top : box.bottom, box.left : box.right] += 1
        single = (box.bottom - box.top) * (box.right - box.left) == 1
        assert single or decoded_cells(box) * CELL_PX**2 <= tile_px
    assert count.max(initial=0) <= 1
    assert (count[cells] == 1).all()


def test_nothing_unknown_needs_no_tile() -> None:
    assert cover(np.zeros((9, 5), bool), 768**2) == []


def test_a_thin_ring_is_followed_by_its_tiles() -> None:
    y, x = np.mgrid[:256, :256]
    ring = np.abs(np.hypot(y - 128, x - 128) - 100) < 4
    boxes = cover(ring, 768**2)
    assert sum(map(decoded_cells, boxes)) < 0.25 * ring.size
    assert sum(map(decoded_cells, boxes)) < 3.5 * ring.sum()


def test_cells_with_any_unknown_pixel_of_any_image_count() -> None:
    trimap = torch.zeros(2, 1, 40, 20, dtype=torch.uint8)
    trimap[0, 0, 39, 19] = 128
    trimap[1, 0, 0, 0] = 128
    trimap[1, 0, 20] = 255
    expected = np.zeros((4, 2), bool)
    expected[0, 0] = expected[2, 1] = True
    assert (unknown_cells(trimap, 4, 2) == expected).all()
