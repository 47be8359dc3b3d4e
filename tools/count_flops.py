"""Parameters and multiply-accumulates of a network, part by part.

  python tools/count_flops.py configs/AEMatter.py
  python tools/count_flops.py configs/MEMatte_S_topk0.25_win_global_long.py --size 1920x1080 --keep-share 0.25

The cost of a routed network depends on how many tokens its routers keep in global attention: that share is an argument.

Exit codes: 0 counted, 1 cannot be counted on this device, 2 wrong arguments.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import tools  # noqa: F401  (puts the repository on the path)
from engine.messages import log_to_terminal
from tools import arguments, cli

logger = logging.getLogger("count_flops")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line and check its values."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument("config", type=Path, help="config file, e.g. configs/AEMatter.py")
    parser.add_argument(
        "--size",
        type=arguments.size,
        default=(1024, 1024),
        metavar="WIDTHxHEIGHT",
        help="pixels, or the side of a square (default: 1024)",
    )
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
    args = parser.parse_args(argv)
    if not 0 <= args.keep_share <= 1:
        parser.error(f"--keep-share must be from 0 to 1, got {args.keep_share}")
    return args


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = parse(argv)
    log_to_terminal(logging.INFO)
    from engine.build import build_model
    from tools.benchmarks.macs import count_macs, count_parameters, is_routed, keep_share_

    try:
        model = build_model(args.config)
    except ValueError as error:
        logger.error("%s", error)
        return 2
    routed = is_routed(model)
    keep_share_(model, args.keep_share)
    device = args.device or ("cpu" if routed else "meta")
    width, height = args.size
    try:
        macs = count_macs(model, height, width, device)
    except (NotImplementedError, RuntimeError) as error:
        logger.error("%s: cannot be counted on device %s (%s); try --device cpu", args.config, device, error)
        return 1
    kept = f", routers keep {args.keep_share:.1%} of the tokens" if routed else ""
    cli.say(f"{args.config.stem} at {width}x{height}{kept}")
    for name, count in macs.items():
        parameters = count_parameters(model if name == "total" else getattr(model, name))
        cli.say(f"{name:<20} {parameters:>12,} parameters {count / 1e9:>9.3f} GMAC")
    return 0


if __name__ == "__main__":
    sys.exit(main())
