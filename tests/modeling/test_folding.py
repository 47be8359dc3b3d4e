import torch
from torch import nn

from modeling.decoder.folding import fold_batch_norms_
from tests.modeling.small import small_decoder


@torch.no_grad()
def test_folded_decoder_is_the_same_function_without_batch_norms() -> None:
    features, inputs = torch.randn(1, 32, 3, 4), torch.randn(1, 4, 48, 64)
    expected = small_decoder()(features, inputs)
    folded = fold_batch_norms_(small_decoder())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(features, inputs), expected, rtol=0, atol=1e-6)
