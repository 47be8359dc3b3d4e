"""Print parameters and multiply-accumulates of a network at an image size, part by part.

  python tools/count_flops.py configs/AEMatter.py
  python tools/count_flops.py configs/MEMatte_S_topk0.25_win_global_long.py --keep-share 0.25

What a routed network costs depends on how many tokens its routers keep in global attention: that share is an argument.
"""

import argparse
import logging
import math
import sys
from pathlib import Path

import torch
from detectron2.config import LazyConfig, instantiate
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.messages import log_to_terminal
from modeling.backbone.routing import Router

logger = logging.getLogger("count_flops")


def count_parameters(module: nn.Module) -> int:
    """Parameters of a module, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())


def is_routed(model: nn.Module) -> bool:
    """Whether what is computed depends on the data."""
    return any(isinstance(module, Router) for module in model.modules())


def keep_share_(model: nn.Module, share: float) -> None:
    """Have each router keep the first `share` of the tokens, rounded up, whatever it computes; in place."""

    def decide(_: nn.Module, __: tuple, logp: Tensor) -> Tensor:
        """(B, h, w, 2), class 0 is "keep"."""
        tokens = logp.shape[1] * logp.shape[2]
        kept = (torch.arange(tokens, device=logp.device) < math.ceil(share * tokens)).view(1, *logp.shape[1:3])
        return torch.stack([kept, ~kept], dim=-1).expand_as(logp).log().to(logp.dtype)

    for module in model.modules():
        if isinstance(module, Router):
            module.register_forward_hook(decide)


def count_macs(model: nn.Module, height: int, width: int, device: str = "meta") -> dict[str, int]:
    """Multiply-accumulates of convolutions, linear layers and attention products for one image, all of it unknown.

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
    """Count of one module; containers without a forward of their own, such as lists, are the sum of their children."""
    if name in counts:
        return counts[name]
    return sum(_macs_of(f"{name}.{child_name}", child, counts) for child_name, child in module.named_children())


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="config file, e.g. configs/AEMatter.py")
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 1024), metavar=("HEIGHT", "WIDTH"), help="pixels")
    parser.add_argument(
        "--device",
        choices=("meta", "cpu", "cuda"),
        help="meta computes nothing (default); routed networks need cpu (their default) or cuda",
    )
    parser.add_argument(
        "--keep-share",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="share of the tokens that each router keeps in global attention (default: %(default)s)",
    )
    args = parser.parse_args(arguments)
    log_to_terminal(logging.INFO)
    if min(args.size) < 1:
        parser.error(f"--size must be at least 1 x 1, got {args.size[0]} x {args.size[1]}")
    if not 0 <= args.keep_share <= 1:
        parser.error(f"--keep-share must be from 0 to 1, got {args.keep_share}")
    if not args.config.is_file():
        parser.error(f"{args.config}: no such config file")
    model = instantiate(LazyConfig.load(str(args.config)).model)
    routed = is_routed(model)
    keep_share_(model, args.keep_share)
    device = args.device or ("cpu" if routed else "meta")
    try:
        macs = count_macs(model, *args.size, device)
    except (NotImplementedError, RuntimeError) as error:
        logger.error("%s: cannot be counted on device %s (%s); try --device cpu", args.config, device, error)
        return 1
    kept = f", routers keep {args.keep_share:.1%} of the tokens" if routed else ""
    print(f"{args.config.stem} at {args.size[0]}x{args.size[1]}{kept}")
    for name, count in macs.items():
        parameters = count_parameters(model if name == "total" else getattr(model, name))
        print(f"{name:<20} {parameters:>12,} parameters {count / 1e9:>9.3f} GMAC")
    return 0


if __name__ == "__main__":
    sys.exit(main())
