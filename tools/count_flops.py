"""Print parameters and multiply-accumulates of a network at an image size, part by part."""

import argparse
import logging
import sys
from pathlib import Path

import torch
from detectron2.config import LazyConfig, instantiate
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

logger = logging.getLogger("count_flops")


def count_parameters(module: nn.Module) -> int:
    """Parameters of a module, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())


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
        default="meta",
        choices=("meta", "cpu", "cuda"),
        help="meta (default) computes nothing; routed networks need cpu",
    )
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if min(args.size) < 1:
        parser.error(f"--size must be at least 1 x 1, got {args.size[0]} x {args.size[1]}")
    if not args.config.is_file():
        parser.error(f"{args.config}: no such config file")
    model = instantiate(LazyConfig.load(str(args.config)).model)
    try:
        macs = count_macs(model, *args.size, args.device)
    except (NotImplementedError, RuntimeError) as error:
        logger.error("%s: cannot be counted on device %s (%s); try --device cpu", args.config, args.device, error)
        return 1
    print(f"{args.config.stem} at {args.size[0]}x{args.size[1]}")
    for name, count in macs.items():
        parameters = count_parameters(model if name == "total" else getattr(model, name))
        print(f"{name:<20} {parameters:>12,} parameters {count / 1e9:>9.3f} GMAC")
    return 0


if __name__ == "__main__":
    sys.exit(main())
