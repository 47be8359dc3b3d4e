import pytest
import torch
from torch import nn

from tools.benchmarks.parts import rates


@pytest.mark.parametrize("autocast", [False, True])
def test_operations_of_each_part_are_counted_and_timed(autocast: bool) -> None:
    linear, mixing = nn.Linear(32, 64), nn.Conv2d(8, 16, 3, padding=1)
    depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    tokens, image = torch.rand(50, 32), torch.rand(1, 8, 20, 30)

    @torch.inference_mode()
    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            linear(tokens)
            linear(tokens)
            mixing(image)
            depthwise(image)

    parts = rates(run, "cpu")
    assert parts["linears"]["gflop"] == pytest.approx(2 * 2 * 50 * 32 * 64 / 1e9)
    assert parts["convolutions"]["gflop"] == pytest.approx(2 * 20 * 30 * 8 * 16 * 9 / 1e9)
    assert all(part["seconds"] > 0 for part in parts.values())
