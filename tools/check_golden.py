"""Recompute golden files and print the largest difference of every quantity.

Useful after a change of torch or of the machine. The network and its weights follow from the file's name:

  python tools/check_golden.py tests/golden/*.npz

Exit codes: 0 all within tolerance, 1 some are not, 2 a file cannot be checked.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import tools  # noqa: F401  (puts the repository on the path)
from tools import arguments, cli


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.npz", help="golden files")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args, code = parse(argv), 0
    from tools.reference.golden import check_file

    for path in args.files:
        try:
            quantities = check_file(path)
        except (OSError, ValueError, KeyError) as error:
            print(f"{path}: cannot be checked: {error}", file=sys.stderr)
            code = 2
            continue
        cli.say(path.name)
        for quantity in quantities:
            verdict = "ok" if quantity.ok else "DIFFERS"
            cli.say(
                f"  {quantity.name:<28} {quantity.difference:10.2e}  (accepted {quantity.tolerance:.0e})  {verdict}"
            )
        if not all(quantity.ok for quantity in quantities):
            code = max(code, 1)
    return code


if __name__ == "__main__":
    sys.exit(main())
