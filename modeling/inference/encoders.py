"""DiffMatte's encoders on large images; those without an entry run whole."""

from functools import singledispatch

from torch import Tensor

from ..backbone.prior_swin import PriorSwin
from ..backbone.resnet import ResNet34D
from ..backbone.vit import ViT
from ..base import Encoder, Encoding
from ..inputs import image_and_classes, whole_window
from . import swin, vit
from .budget import Limits


@singledispatch
def encode(encoder: Encoder, image: Tensor, classes: Tensor, limits: Limits) -> Encoding:
    """Encode an image (B, 3, H, W) and the classes of its trimap (B, 1, H, W) within `limits`."""
    return encoder(image_and_classes(image, classes, whole_window(image), centred=False))


@encode.register
def _(encoder: PriorSwin, image: Tensor, classes: Tensor, limits: Limits) -> Encoding:
    inputs = image_and_classes(image, classes, whole_window(image), centred=False)
    return swin.encode_prior(encoder, inputs, limits.chunk_tokens)


@encode.register
def _(encoder: ViT, image: Tensor, classes: Tensor, limits: Limits) -> Encoding:
    return vit.encode(encoder, image, classes.float() / 2, limits)


@singledispatch
def memory_cost(encoder: Encoder, height: int, width: int, limits: Limits) -> int:
    """Upper estimate in bytes for `encode`, by the feature's size in cells."""
    raise NotImplementedError(f"{type(encoder).__name__} has no cost model: register one with {__name__}.memory_cost")


@memory_cost.register
def _(encoder: ResNet34D, height: int, width: int, limits: Limits) -> int:
    weight = encoder.conv1.module.weight_bar
    inputs, stem = 3 * weight.shape[1], 4 * weight.shape[0] / 4  # channels of the input and of the maps of the stem
    return int(4 * (inputs + stem) * 32**2 * height * width)


@memory_cost.register
def _(encoder: PriorSwin, height: int, width: int, limits: Limits) -> int:
    return swin.prior_memory_cost(encoder, height, width, limits.chunk_tokens)


@memory_cost.register
def _(encoder: ViT, height: int, width: int, limits: Limits) -> int:
    return vit.memory_cost(encoder, height, width, limits)
