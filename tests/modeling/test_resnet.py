import copy

import torch

from modeling.backbone.resnet import ResNet34D, SpectralConv2d
from tools.reference.diffmatte import converge_


def test_converged_spectral_weights_have_norm_one():
    torch.manual_seed(0)
    conv = SpectralConv2d(5, 8)
    for _ in range(300):
        conv.module.iterate()
    assert abs(torch.linalg.matrix_norm(conv.module().flatten(1), ord=2).item() - 1) < 1e-3


def test_evaluation_leaves_the_stored_vectors_alone_and_training_updates_them():
    torch.manual_seed(0)
    conv = SpectralConv2d(3, 4)
    before = copy.deepcopy(conv.state_dict())
    conv.eval()(torch.rand(1, 3, 8, 8))
    assert all(torch.equal(before[name], value) for name, value in conv.state_dict().items())
    conv.train()(torch.rand(1, 3, 8, 8)).sum().backward()
    assert not torch.equal(before["module.weight_u"], conv.module.weight_u)
    assert conv.module.weight_bar.grad is not None
    assert conv.module.weight_u.grad is None and conv.module.weight_v.grad is None


def test_two_forwards_before_a_backward():
    conv = SpectralConv2d(3, 4).train()
    (conv(torch.rand(1, 3, 8, 8)) + conv(torch.rand(1, 3, 8, 8))).sum().backward()
    assert conv.module.weight_bar.grad.isfinite().all()


def test_output_is_a_thirtysecond_of_the_input():
    torch.manual_seed(0)
    net = ResNet34D().eval()
    converge_(net)
    with torch.no_grad():
        assert net(torch.rand(2, 6, 64, 96)).features.shape == (2, 512, 2, 3)
