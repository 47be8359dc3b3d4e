"""Make a training and a validation set from cut-outs and photographs.

OUTPUT/cutouts and OUTPUT/backgrounds receive what is trained on, OUTPUT/drawn synthetic foregrounds (hair, nets,
smoke, ...) with exact alpha, OUTPUT/rendered foregrounds of tools/render_foregrounds.py, and OUTPUT/validation
composites of the objects that are held out, in a layout that inference.py and train.validation_root take. The list of
what is held out is read from --held-out where that file is there, else drawn and written to it. An interrupted run is
continued by the same command.

Exit codes: 0 all made, 1 some files failed, 2 wrong arguments.
"""

import argparse
import logging
import operator
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

import tools  # noqa: F401  (puts the repository on the path)
from data.files import FileError, write_atomic
from data.parallel import outcomes
from data.prepare.drawn import KINDS
from data.prepare.free_set import VALIDATION, Drawing, ValidationComposite, draw_held_out
from data.training.sources import list_images, read_names
from engine.messages import log_to_terminal
from tools import arguments, cli

logger = logging.getLogger("prepare_free_set")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = arguments.make_parser(__doc__)
    parser.add_argument("--cutouts", type=Path, required=True, help="RGBA cut-outs (WebP, PNG)")
    parser.add_argument("--backgrounds", type=Path, required=True, help="photographs")
    parser.add_argument(
        "--rendered",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders of rendered foregrounds (tools/render_foregrounds.py)",
    )
    parser.add_argument("--output", type=Path, required=True, help="where the sets go")
    parser.add_argument(
        "--held-out",
        type=Path,
        default=Path("data/prepare/splits/free.txt"),
        help="stems that are only for validation (default: %(default)s)",
    )
    parser.add_argument("--share", type=float, default=0.12, help="of objects held out, where drawn (%(default)s)")
    parser.add_argument("--drawn", type=int, default=150, metavar="N", help="drawings of each kind (%(default)s)")
    parser.add_argument(
        "--validation-drawn",
        type=int,
        default=6,
        metavar="N",
        help="drawings of each kind for validation (%(default)s)",
    )
    parser.add_argument(
        "--max-side", type=int, default=448, metavar="PX", help="longest side of a validation composite (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random (%(default)s)")
    arguments.add_workers(parser)
    args = parser.parse_args(argv)
    if args.drawn < 0 or args.validation_drawn < 0 or not 0 < args.share < 1:
        parser.error("--workers must be at least 1, --drawn not negative, --share between 0 and 1")
    return args


def held_out(path: Path, stems: Sequence[list[str]], share: float, seed: int) -> set[str]:
    """Held-out stems, read from the list; drawn and written if missing."""
    if not path.is_file():
        rng = np.random.default_rng(seed)
        lines = [f"# Held out from training: objects and photographs, drawn with seed {seed}, share {share}."]
        lines += [stem for group in stems for stem in draw_held_out(group, share, rng)]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, ("\n".join(lines) + "\n").encode())
        logger.info("%s: drawn anew", path)
    return read_names(path)


def rendered(folders: Sequence[Path]) -> list[Path]:
    """Rendered foregrounds of all folders, whose names must differ."""
    paths = [path for folder in folders for path in list_images(folder)]
    twice = [stem for stem, number in Counter(path.stem for path in paths).items() if number > 1]
    if twice:
        raise FileError(
            f"--rendered: {len(twice)} names occur twice, such as {twice[0]}; rename or leave out one folder"
        )
    return paths


def copy(paths: Sequence[Path], folder: Path) -> None:
    """Copy files that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if not (folder / path.name).is_file():
            write_atomic(folder / path.name, path.read_bytes())


def drawings(count: int, textures: Sequence[Path], folder: Path, seed: int) -> list[Drawing]:
    """So many of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, count])
    return [
        Drawing(kind, int(rng.integers(2**62)), textures[rng.integers(len(textures))], folder / f"{kind}_{index}.webp")
        for kind in KINDS
        for index in range(count)
    ]


def composites(cutouts: Sequence[Path], backgrounds: Sequence[Path], args: argparse.Namespace) -> list:
    """Every held-out foreground once, over the held-out photographs in turn."""
    root = args.output / "validation"
    for folder in VALIDATION:
        (root / folder).mkdir(parents=True, exist_ok=True)
    return [
        ValidationComposite(
            path.stem, path, backgrounds[index % len(backgrounds)], args.seed + index, args.max_side, root
        )
        for index, path in enumerate(cutouts)
    ]


def make_all(items: Sequence, what: str, workers: int) -> int:
    """Make all items; how many failed."""
    failed = 0
    progress = tqdm(
        outcomes(operator.methodcaller("make"), items, workers, log_to_terminal),
        total=len(items),
        disable=None,
        desc=what,
    )
    for item, _, error in progress:
        if error:
            failed += 1
            logger.error("%s: %s", item, error)
    return failed


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    log_to_terminal(logging.INFO)
    args, start = parse(argv), time.perf_counter()
    try:
        groups = [list_images(args.cutouts), list_images(args.backgrounds), rendered(args.rendered)]
        stems = [[path.stem for path in paths] for paths in groups]
        apart = held_out(args.held_out, stems, args.share, args.seed)
        kept = [[path for path in paths if path.stem not in apart] for paths in groups]
        spared = [[path for path in paths if path.stem in apart] for paths in groups]
        if not all(map(len, kept[:2] + spared[:2])):
            raise FileError(f"{args.held_out}: must leave cut-outs and photographs on both sides of the split")
        copy(kept[0], args.output / "cutouts")
        copy(kept[1], args.output / "backgrounds")
        copy(kept[2], args.output / "rendered")
        planned = drawings(args.drawn, kept[1], args.output / "drawn", args.seed)
        planned_apart = drawings(args.validation_drawn, spared[1], args.output / "validation_drawn", args.seed + 1)
    except (FileError, OSError) as error:
        logger.error("%s", error)
        return 2
    failed = make_all(planned + planned_apart, "drawings", args.workers)
    foregrounds = spared[0] + spared[2] + [item.target for item in planned_apart if item.target.is_file()]
    failed += make_all(composites(foregrounds, spared[1], args), "composites", args.workers)
    logger.info(
        "%d cut-outs, %d drawings, %d renderings and %d photographs to train on; %d composites to validate; "
        "%d failed in %.1f s",
        len(kept[0]),
        len(planned),
        len(kept[2]),
        len(kept[1]),
        len(foregrounds),
        failed,
        time.perf_counter() - start,
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
