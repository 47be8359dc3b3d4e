"""Folding of batch norms, which are affine at inference, into convolutions."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms_(model: nn.Module) -> nn.Module:
    """Fold batch norms into the convolutions before them, in place.

    Recognised are `conv` + `bn` attributes of one module, neighbours in a `Sequential`, and `conv_1` + `conv_2` + `bn`
    of one module, where the norm reads the outputs of both one after the other. The model must be in evaluation mode.
    """
    for module in list(model.modules()):
        norm = getattr(module, "bn", None)
        if isinstance(norm, nn.BatchNorm2d):
            _fold_attributes_(module, norm)
        if isinstance(module, nn.Sequential):
            for index in range(1, len(module)):
                if isinstance(module[index - 1], nn.Conv2d) and isinstance(module[index], nn.BatchNorm2d):
                    module[index - 1] = fuse_conv_bn_eval(module[index - 1], module[index])
                    module[index] = nn.Identity()
    return model


def _fold_attributes_(module: nn.Module, norm: nn.BatchNorm2d) -> None:
    names = ["conv"] if hasattr(module, "conv") else ["conv_1", "conv_2"]
    convs = [getattr(module, name, None) for name in names]
    if not all(isinstance(conv, nn.Conv2d) for conv in convs):
        return
    first = 0
    for name, conv in zip(names, convs, strict=True):
        setattr(module, name, fuse_conv_bn_eval(conv, _channels(norm, slice(first, first + conv.out_channels))))
        first += conv.out_channels
    module.bn = nn.Identity()


def _channels(norm: nn.BatchNorm2d, part: slice) -> nn.BatchNorm2d:
    """The same norm of some of its channels only."""
    state = {name: tensor[part] if tensor.ndim else tensor for name, tensor in norm.state_dict().items()}
    cut = nn.BatchNorm2d(len(state["running_mean"]), norm.eps).eval()
    cut.load_state_dict(state)
    return cut
