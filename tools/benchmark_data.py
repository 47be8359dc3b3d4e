"""Training crops per second on one core, published order and ours.

  python tools/benchmark_data.py                     # 1000x1000 and 4000x3000 foregrounds made on the spot
  python tools/benchmark_data.py --sizes 6000x4000 --crops 16

Exit codes: 0 measured, 2 wrong arguments.
"""

import argparse
import sys
from collections.abc import Sequence

import tools  # noqa: F401  (puts the repository on the path)
from engine.messages import log_to_terminal
from tools import arguments, cli

SMALLEST_SIDE_PX = 64


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line and check its values."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=arguments.size,
        default=[(1000, 1000), (4000, 3000)],
        metavar="WIDTHxHEIGHT",
        help="pixels of the foregrounds, or the side of a square (default: 1000x1000 4000x3000)",
    )
    parser.add_argument("--crops", type=int, default=32, help="crops timed of each kind (default: %(default)s)")
    parser.add_argument(
        "--shared",
        type=int,
        default=4,
        help="crops that share a decoded foreground in the third row (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if args.crops < 1 or args.shared < 1 or min(map(min, args.sizes)) < SMALLEST_SIDE_PX:
        parser.error(f"--sizes from {SMALLEST_SIDE_PX}x{SMALLEST_SIDE_PX}, --crops and --shared from 1")
    return args


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = parse(argv)
    log_to_terminal()
    from tools.benchmarks.crops import measure

    for width, height in args.sizes:
        cli.say(measure(height, width, args.crops, args.shared))
    return 0


if __name__ == "__main__":
    sys.exit(main())
