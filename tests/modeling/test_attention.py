import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling.backbone.attention import merge_windows, partition_windows, relative_table
from tests.reference.transformer import resized_table


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9))
def test_windows_come_back_as_they_went(height: int, width: int, size: int) -> None:
    tokens = torch.arange(2.0 * height * width * 3).view(2, height, width, 3)
    windows, padded = partition_windows(tokens, size)
    assert windows.shape == (2 * padded[0] * padded[1] // size**2, size, size, 3)
    assert torch.equal(merge_windows(windows, padded, height, width), tokens)


@pytest.mark.parametrize("side", [1, 2, 6, 9])
def test_tables_are_resized_linearly_and_indexed_by_difference(side: int) -> None:
    table = torch.randn(11, 4)
    expected = resized_table(table, side)
    ours = relative_table(table, side)
    for i in range(side):
        for j in range(side):
            torch.testing.assert_close(ours[i, j], expected[i - j + side - 1])
