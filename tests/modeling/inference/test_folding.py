import torch
from torch import nn

from modeling.backbone.cells import Halve
from modeling.cheapmatting import CheapMatting
from modeling.inference.folding import fold_batch_norms_
from tests.modeling.small import filled, small_decoder


@torch.no_grad()
def test_folded_decoder_is_the_same_function_without_batch_norms() -> None:
    features, inputs = torch.randn(1, 32, 3, 4), torch.randn(1, 4, 48, 64)
    expected = small_decoder()(features, inputs)
    folded = fold_batch_norms_(small_decoder())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(features, inputs), expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_norm_behind_two_convolutions_is_folded_into_both() -> None:
    x = torch.randn(1, 6, 8, 10)
    expected = filled(Halve(6, 4))(x)
    assert expected[:, :2].std() > 0 and expected[:, 2:].std() > 0
    folded = fold_batch_norms_(filled(Halve(6, 4)))
    assert isinstance(folded.bn, nn.Identity)
    torch.testing.assert_close(folded(x), expected, rtol=0, atol=1e-6)


def test_nothing_is_left_in_cheapmatting() -> None:
    folded = fold_batch_norms_(CheapMatting().eval())
    assert [name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)] == []


def test_what_is_not_a_convolution_before_the_norm_stays() -> None:
    module = nn.Module()
    module.conv, module.bn = nn.ConvTranspose2d(2, 2, 1), nn.BatchNorm2d(2)
    assert isinstance(fold_batch_norms_(module.eval()).bn, nn.BatchNorm2d)
