"""Parameter groups: learning rates by depth, and exemptions from weight decay."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from modeling.base import MattingNetwork

NORMS = (nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)  # the published code spares no other norm

Group = dict[str, Any]
Setting = tuple[nn.Parameter, float, float]  # parameter, learning rate, weight decay


def layer_factor(name: str, depth: int, rate: float) -> float:
    """Learning-rate factor of a parameter by its name in the model.

    Patch and position embeddings come first, then the blocks; everything that was not pre-trained as part of a plain
    ViT (bottlenecks, routers, decoder) learns at the full rate. The light branches sit inside blocks and share their
    rate, as published.
    """
    position = depth + 1
    if name.removeprefix("model.").startswith("backbone"):  # DiffMatte keeps both its parts in `model`
        block = re.search(r"\.blocks\.(\d+)\.", name)
        if ".pos_embed" in name or ".patch_embed" in name:
            position = 0
        elif block and ".residual." not in name:
            position = int(block[1]) + 1
    return rate ** (depth + 1 - position)


def parameter_groups(
    model: MattingNetwork, lr: float, weight_decay: float, layer_decay: float | None = None
) -> list[Group]:
    """Trainable parameters grouped by learning rate and weight decay.

    Weight decay spares layer and batch norms and position embeddings; biases and relative tables decay, as published.

    Args:
        model: not wrapped.
        lr: full learning rate.
        weight_decay: of what is not spared.
        layer_decay: factor from one block of a plain ViT, the `backbone`, to the one before it; None: one rate for all.
    """
    depth = model.encoder_depth
    if layer_decay is not None and depth is None:
        network = type(model).__name__
        raise ValueError(
            f"layer_decay={layer_decay} needs the numbered blocks of a ViT; this {network} has none: set it to null"
        )

    def settings() -> Iterable[Setting]:
        for module_name, module in model.named_modules():
            for own_name, parameter in module.named_parameters(recurse=False):
                name = f"{module_name}.{own_name}" if module_name else own_name
                factor = 1.0 if layer_decay is None else layer_factor(name, depth, layer_decay)
                spared = isinstance(module, NORMS) or own_name == "pos_embed"
                yield parameter, lr * factor, 0.0 if spared else weight_decay

    return _grouped(settings())


def parameter_groups_by_name(model: nn.Module, lr: float, weight_decay: float, spared: Sequence[str]) -> list[Group]:
    """Trainable parameters at one rate, with and without weight decay.

    Decay spares names that contain any of `spared`.
    """
    return _grouped(
        (parameter, lr, 0.0 if any(part in name for part in spared) else weight_decay)
        for name, parameter in model.named_parameters()
    )


def _grouped(settings: Iterable[Setting]) -> list[Group]:
    groups: dict[tuple[float, float], Group] = {}
    for parameter, lr, weight_decay in settings:
        if parameter.requires_grad:
            new = {"params": [], "lr": lr, "weight_decay": weight_decay}
            groups.setdefault((lr, weight_decay), new)["params"].append(parameter)
    return list(groups.values())
