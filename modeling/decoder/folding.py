"""Batch norms with running statistics are affine: at inference they disappear into the convolution before them."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms_(model: nn.Module) -> nn.Module:
    """Fold each batch norm that directly follows a convolution into it, in place; returns the model.

    Recognised are `conv` + `bn` attributes of one module, and neighbours in a `Sequential`. The model must be in
    evaluation mode.
    """
    for module in list(model.modules()):
        conv, norm = getattr(module, "conv", None), getattr(module, "bn", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module.conv, module.bn = fuse_conv_bn_eval(conv, norm), nn.Identity()
        if isinstance(module, nn.Sequential):
            for index in range(1, len(module)):
                if isinstance(module[index - 1], nn.Conv2d) and isinstance(module[index], nn.BatchNorm2d):
                    module[index - 1] = fuse_conv_bn_eval(module[index - 1], module[index])
                    module[index] = nn.Identity()
    return model
