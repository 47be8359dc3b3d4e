"""Check golden files: compute what they store again and print the largest difference of every quantity.

For people who move to a new torch or a new machine. The network and its weights follow from the file's name:

    python tools/check_golden.py tests/golden/*.npz
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.reference.golden import check_file  # noqa: E402


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.npz", help="golden files")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0: all within tolerance; 1: some are not; 2: a file cannot be checked."""
    code = 0
    for path in parse(argv).files:
        try:
            quantities = check_file(path)
        except (OSError, ValueError, KeyError) as error:
            print(f"{path}: cannot be checked: {error}", file=sys.stderr)
            code = 2
            continue
        print(path.name)
        for quantity in quantities:
            verdict = "ok" if quantity.ok else "DIFFERS"
            print(f"  {quantity.name:<28} {quantity.difference:10.2e}  (accepted {quantity.tolerance:.0e})  {verdict}")
        if not all(quantity.ok for quantity in quantities):
            code = max(code, 1)
    return code


if __name__ == "__main__":
    sys.exit(main())
