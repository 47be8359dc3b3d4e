"""Parameter groups: learning rates that fall with depth, and what weight decay spares."""

import re
from typing import Any

from torch import nn

NORMS = (nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)  # the published code spares no other norm


def layer_factor(name: str, depth: int, rate: float) -> float:
    """Learning-rate factor of a parameter by its name in the model.

    Patch and position embeddings come first, then the blocks; everything that was not pre-trained as part of a plain
    ViT (bottlenecks, routers, decoder) learns at the full rate. The light branches sit inside blocks and share their
    rate, as published.
    """
    position = depth + 1
    if name.startswith("backbone"):
        block = re.search(r"\.blocks\.(\d+)\.", name)
        if ".pos_embed" in name or ".patch_embed" in name:
            position = 0
        elif block and ".residual." not in name:
            position = int(block[1]) + 1
    return rate ** (depth + 1 - position)


def parameter_groups(model: nn.Module, lr: float, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters grouped by learning rate and weight decay, in the order of the model.

    Weight decay spares layer and batch norms and position embeddings; biases and relative tables decay, as published.

    Args:
        model: a network with a `backbone` of `blocks`, not wrapped.
        lr: full learning rate.
        weight_decay: of what is not spared.
        layer_decay: factor from one block to the one before it.
    """
    depth = len(model.backbone.blocks)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for module_name, module in model.named_modules():
        for own_name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            name = f"{module_name}.{own_name}" if module_name else own_name
            spared = isinstance(module, NORMS) or own_name == "pos_embed"
            key = (lr * layer_factor(name, depth, layer_decay), 0.0 if spared else weight_decay)
            group = groups.setdefault(key, {"params": [], "lr": key[0], "weight_decay": key[1]})
            group["params"].append(parameter)
    return list(groups.values())
