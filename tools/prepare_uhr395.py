"""Lay out UHR-395 or UHRIM for training and testing, checking pairs.

As train/fg + alpha and test/merged + trimaps + alpha_copy.

What is finished is not made again, so an interrupted run is continued by the same command.

Exit codes: 0 all done, 1 some pictures failed or are incomplete, 2 wrong arguments.
"""

import argparse
import functools
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

import tools  # noqa: F401  (puts the repository on the path)
from data.parallel import outcomes
from data.prepare.composition1k import read_list
from data.prepare.uhr395 import Settings, find_items, prepare
from engine.messages import log_to_terminal
from tools import arguments, cli

logger = logging.getLogger("prepare_uhr395")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = arguments.make_parser(__doc__)
    parser.add_argument("source", type=Path, help="the download: train/ and test/, each with pictures and alphas")
    parser.add_argument("output", type=Path, help="folder to fill")
    parser.add_argument("--test-list", type=Path, help="names of the test pictures, where the download is not divided")
    parser.add_argument("--long-side", type=int, metavar="PX", help="reduce larger pictures to this")
    parser.add_argument("--tiles", type=int, metavar="PX", help="also cut training pictures into tiles for fast crops")
    parser.add_argument("--seed", type=int, default=0, help="of the trimaps that the set lacks (%(default)s)")
    arguments.add_workers(parser)
    args = parser.parse_args(argv)
    if any(value is not None and value < 1 for value in (args.long_side, args.tiles)) or args.seed < 0:
        parser.error("--long-side, --tiles and --workers must be at least 1, --seed at least 0")
    return args


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    log_to_terminal(logging.INFO)
    args, start = parse(argv), time.perf_counter()
    try:
        names = {Path(name).stem for name in read_list(args.test_list)} if args.test_list else None
        items, problems = find_items(args.source, names)
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 2
    for problem in problems:
        logger.error("%s", problem)
    failed, made = len(problems), 0
    settings = Settings(args.output, args.long_side, args.tiles, args.seed)
    work = functools.partial(prepare, settings=settings)
    for _, fresh, error in tqdm(outcomes(work, items, args.workers, log_to_terminal), total=len(items), disable=None):
        made += bool(fresh)
        if error:
            failed += 1
            logger.error("%s", error)
    counts = ", ".join(f"{sum(item.split == split for item in items)} {split}" for split in ("train", "test"))
    logger.info("%s; %d made now, %d failed in %.1f s", counts, made, failed, time.perf_counter() - start)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
