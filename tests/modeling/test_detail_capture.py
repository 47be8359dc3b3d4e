import copy

import torch
import torch.nn.functional as F

from modeling.decoder.blocks import double
from modeling.decoder.detail_capture import FusionBlock
from modeling.inference.folding import fold_batch_norms_


def test_fusion_equals_one_convolution_of_the_joined_maps_with_its_gradients() -> None:
    torch.manual_seed(0)
    block = FusionBlock(5 + 12, 8).double()
    coarse = torch.randn(2, 12, 6, 7, dtype=torch.float64, requires_grad=True)
    detail = torch.randn(2, 5, 12, 14, dtype=torch.float64, requires_grad=True)
    joined = F.conv2d(torch.cat([detail, double(coarse)], dim=1), block.conv.conv.weight, padding=1)
    wanted = F.relu(block.conv.bn(joined))
    found = block(coarse, detail)
    torch.testing.assert_close(found, wanted)
    inputs = [coarse, detail, *block.parameters()]
    pull = torch.randn_like(found)
    pairs = zip(torch.autograd.grad(found, inputs, pull), torch.autograd.grad(wanted, inputs, pull), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs)


def test_fusion_with_a_folded_batch_norm_stays_the_same() -> None:
    torch.manual_seed(0)
    block = FusionBlock(5 + 12, 8).eval()
    torch.nn.init.normal_(block.conv.bn.bias)
    coarse, detail = torch.randn(1, 12, 6, 7), torch.randn(1, 5, 12, 14)
    folded = fold_batch_norms_(copy.deepcopy(block))
    assert folded.conv.conv.bias is not None
    torch.testing.assert_close(folded(coarse, detail), block(coarse, detail))
