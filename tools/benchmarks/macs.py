"""Parameters and multiply-accumulates of a network, part by part."""

import math

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from modeling.backbone.routing import Router


def count_parameters(module: nn.Module) -> int:
    """Parameters of a module, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())


def is_routed(model: nn.Module) -> bool:
    """True if the operations depend on the data."""
    return any(isinstance(module, Router) for module in model.modules())


def keep_share_(model: nn.Module, share: float) -> None:
    """Make each router keep the first `share` of tokens, in place.

    The number is rounded up.
    """

    def decide(_: nn.Module, __: tuple, logp: Tensor) -> Tensor:
        """(B, h, w, 2), class 0 is "keep"."""
        tokens = logp.shape[1] * logp.shape[2]
        kept = (torch.arange(tokens, device=logp.device) < math.ceil(share * tokens)).view(1, *logp.shape[1:3])
        return torch.stack([kept, ~kept], dim=-1).expand_as(logp).log().to(logp.dtype)

    for module in model.modules():
        if isinstance(module, Router):
            module.register_forward_hook(decide)


def count_macs(model: nn.Module, height: int, width: int, device: str = "meta") -> dict[str, int]:
    """Multiply-accumulates of convolutions, linear layers and attention for one image.

    All of the image is unknown.

    On "meta" nothing is computed, which networks that look at their data cannot do.

    Returns:
        Counts by the name of the model's child, and of the whole under "total".
    """
    model = model.to(device).eval()
    image = torch.zeros(1, 3, height, width, device=device)
    trimap = torch.full((1, 1, height, width), 128 / 255, device=device)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(image, trimap)  # the unfused products: fused kernels are not all known to the counter
    counts = {name: sum(operators.values()) // 2 for name, operators in counter.get_flop_counts().items()}
    root = type(model).__name__
    parts = {name: _macs_of(f"{root}.{name}", child, counts) for name, child in model.named_children()}
    return {**parts, "total": counter.get_total_flops() // 2}


def _macs_of(name: str, module: nn.Module, counts: dict[str, int]) -> int:
    """Count of one module; of containers, the sum over children."""
    if name in counts:
        return counts[name]
    return sum(_macs_of(f"{name}.{child_name}", child, counts) for child_name, child in module.named_children())
