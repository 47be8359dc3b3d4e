import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from modeling.backbone import attention
from modeling.backbone.attention import attend_lean, merge_windows, partition_windows, relative_table
from tools.reference.transformer import resized_table


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


@pytest.mark.parametrize("held", [7, 100, 1000, 2**20])
@pytest.mark.parametrize("with_bias", [False, True])
def test_attention_in_parts_is_attention(monkeypatch: pytest.MonkeyPatch, held: int, with_bias: bool) -> None:
    """bfloat16 on the CPU, in parts of any size.

    The tensors lie as they come out of a linear layer.
    """
    monkeypatch.setitem(attention.HELD_WEIGHTS, "cpu", held)
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 19, 3, 3, 8).bfloat16().unbind(2)  # (B, N, heads, d)
    q, k, v = q[:, :11].transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, heads, N, d)
    bias = torch.randn(2, 3, 11, 19).bfloat16() if with_bias else None
    exact = F.scaled_dot_product_attention(
        q.float(), k.float(), v.float(), attn_mask=None if bias is None else bias.float()
    )
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        ours = attend_lean(q, k, v, bias)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.float(), exact, rtol=0.02, atol=0.02)
