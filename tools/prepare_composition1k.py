"""Make Composition-1k's test set from Adobe's download and PASCAL VOC.

Foregrounds in the order of the name list, 20 backgrounds each in the order of the background list. What is finished is
not made again, so an interrupted run is continued by the same command.

Exit codes: 0 all made, 1 some composites failed, 2 wrong arguments.
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
from data.prepare.composition1k import BACKGROUNDS_EACH, LAYOUT, build, plan, prepare_folders, read_list
from engine.messages import log_to_terminal
from tools import arguments, cli

logger = logging.getLogger("prepare_composition1k")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = arguments.make_parser(__doc__)
    parser.add_argument("--foregrounds", type=Path, required=True, help="Adobe's fg/ of the test set")
    parser.add_argument("--alphas", type=Path, required=True, help="Adobe's alpha/ of the test set")
    parser.add_argument("--trimaps", type=Path, help="Adobe's trimaps/ (NAME_0.png ...), laid beside the composites")
    parser.add_argument("--backgrounds", type=Path, required=True, help="PASCAL VOC's JPEGImages/")
    parser.add_argument("--foreground-list", type=Path, required=True, help="test_fg_names.txt")
    parser.add_argument("--background-list", type=Path, required=True, help="test_bg_names.txt")
    parser.add_argument("--output", type=Path, required=True, help=f"receives {'/, '.join(LAYOUT)}/")
    parser.add_argument("--each", type=int, default=BACKGROUNDS_EACH, help="backgrounds per foreground (%(default)s)")
    arguments.add_workers(parser)
    args = parser.parse_args(argv)
    if args.each < 1:
        parser.error("--workers and --each must be at least 1")
    return args


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    log_to_terminal(logging.INFO)
    args, start = parse(argv), time.perf_counter()
    try:
        planned = plan(
            read_list(args.foreground_list),
            read_list(args.background_list),
            args.foregrounds,
            args.alphas,
            args.backgrounds,
            args.trimaps,
            args.each,
        )
        prepare_folders(args.output, LAYOUT if args.trimaps else LAYOUT[:2])
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 2
    failed = planned.problems
    for problem in failed:
        logger.error("%s", problem)
    made = 0
    work = functools.partial(build, output=args.output)
    progress = tqdm(
        outcomes(work, planned.composites, args.workers, log_to_terminal), total=len(planned.composites), disable=None
    )
    for composite, fresh, error in progress:
        made += bool(fresh)
        if error:
            failed.append(composite.name)
            logger.error("%s: %s", composite.name, error)
    there = len(planned.composites) + len(planned.problems) - len(failed) - made
    logger.info("%d made, %d there already, %d failed in %.1f s", made, there, len(failed), time.perf_counter() - start)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
