"""Render foregrounds with exact alpha: hair, fur, feathers, nets, glass, smoke.

  python tools/render_foregrounds.py --output rendered --kinds hair --count 40
  python tools/render_foregrounds.py --output rendered --kinds plants nets clear solids --count 15 --sheet sheet.jpg

Everything about a picture follows from its kind and its seed. Files that are there are not made again, so an
interrupted run is continued by the same command. The default renderer paints 3-D strands and surfaces on a fine grid;
--renderer cycles uses Blender (pip install -r requirements-render.txt, Python 3.11) for all kinds but "clear".

Exit codes: 0 all made, 1 some files failed, 2 wrong arguments.
"""

import argparse
import logging
import operator
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import tools  # noqa: F401  (puts the repository on the path)
from data.files import FileError, make_folder, remove_leftovers, write_atomic
from data.parallel import outcomes
from data.prepare.rendered.produce import GROUPS, KINDS, Rendering
from data.prepare.rendered.sheet import contact_sheet
from engine.messages import log_to_terminal
from tools import arguments, cli

logger = logging.getLogger("render_foregrounds")
SIZE_PX = (64, 4096)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line and check its values."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the WebP files go")
    parser.add_argument(
        "--kinds",
        nargs="+",
        default=list(GROUPS),
        metavar="KIND",
        choices=[*GROUPS, *KINDS],
        help=f"groups ({', '.join(GROUPS)}) or kinds ({', '.join(KINDS)}); default: all",
    )
    parser.add_argument("--count", type=int, default=10, help="pictures of each kind (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="seed of the first (%(default)s)")
    parser.add_argument("--size", type=int, metavar="PX", help="side of the pictures (default: drawn, 512 to 1280)")
    parser.add_argument(
        "--threads", type=arguments.workers, default=1, help="processes, or threads of Cycles (%(default)s)"
    )
    parser.add_argument("--renderer", choices=("paint", "cycles"), default="paint", help="default: %(default)s")
    parser.add_argument("--sheet", type=Path, metavar="FILE.jpg", help="also write a contact sheet of the folder")
    args = parser.parse_args(argv)
    if args.count < 0 or args.first_seed < 0:
        parser.error("--count and --first-seed must not be negative")
    if args.size is not None and not SIZE_PX[0] <= args.size <= SIZE_PX[1]:
        parser.error(f"--size must be from {SIZE_PX[0]} to {SIZE_PX[1]}")
    if args.sheet and args.sheet.suffix.lower() not in (".jpg", ".jpeg"):
        parser.error("--sheet must end in .jpg")
    args.kinds = expanded(args.kinds)
    if args.renderer == "cycles" and set(args.kinds) & set(GROUPS["clear"]):
        parser.error(f"--renderer cycles does not render {', '.join(GROUPS['clear'])}; name other --kinds")
    return args


def expanded(names: Sequence[str]) -> list[str]:
    """Kinds in their fixed order, groups replaced by their members."""
    wanted = {kind for name in names for kind in GROUPS.get(name, (name,))}
    return [kind for kind in KINDS if kind in wanted]


def planned(args: argparse.Namespace) -> list[Rendering]:
    """Pictures of all kinds in turn, balanced also where a run stops."""
    seeds = range(args.first_seed, args.first_seed + args.count)
    return [Rendering(kind, seed, args.output, args.size) for seed in seeds for kind in args.kinds]


def maker(renderer: str, threads: int) -> tuple[Callable[[Rendering], bool], int]:
    """Function that makes a picture, and its number of processes."""
    if renderer == "paint":
        return operator.methodcaller("make"), threads
    from tools.rendering import check_blender

    check_blender()
    from tools.rendering.cycles import Quality, make

    return partial(make, quality=Quality(threads=threads)), 1


def make_all(args: argparse.Namespace) -> tuple[int, int]:
    """Make what is missing; returns the numbers made and failed."""
    make_folder(args.output)
    remove_leftovers(args.output)
    make, processes = maker(args.renderer, args.threads)
    missing, failed = [item for item in planned(args) if not item.target.is_file()], 0
    with cli.progress(len(missing), "foreground") as advance:
        for item, _, error in outcomes(make, missing, processes):
            if error:
                failed += 1
                logger.error("%s: %s", item.target, error)
            advance()
    return len(missing) - failed, failed


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args, start = parse(argv), time.perf_counter()
    log_to_terminal()
    try:
        made, failed = make_all(args)
        if args.sheet:
            write_atomic(args.sheet, contact_sheet(sorted(args.output.glob("*.webp"))))
    except (FileError, OSError, RuntimeError) as error:
        logger.error("%s", error)
        return 2
    seconds, there = time.perf_counter() - start, len(args.kinds) * args.count - made - failed
    cli.say(f"{made} foregrounds made, {there} were there, {failed} failed in {seconds:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
