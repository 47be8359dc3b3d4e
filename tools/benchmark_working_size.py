"""Mean error in the unknown region by working size.

On enlarged photographs or on finely drawn composites.

With --enlarge the images of a folder with true alphas are enlarged (cubic; trimaps by nearest neighbours): pictures of
a large camera that hold no finer detail. With --drawn N composites are drawn at --side pixels, so that their hair,
fur, leaves and nets have detail of single pixels. With --foregrounds composites are made of pictures with alpha, those
of tools/render_foregrounds.py --size 2400 for example.

  python tools/benchmark_working_size.py --data-dir Datasets/photographs --enlarge 4000 --sizes auto full
  python tools/benchmark_working_size.py --drawn 10 --backgrounds Datasets/free/backgrounds --side 2400

Exit codes: 0 all done, 2 wrong arguments.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tools  # noqa: F401  (puts the repository on the path)
from engine.messages import log_to_terminal
from tools import arguments, cli

if TYPE_CHECKING:
    from modeling import Predictor
    from tools.benchmarks.enlarged import Case

logger = logging.getLogger("benchmark_working_size")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line and check its values."""
    parser = arguments.make_parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data-dir", type=Path, metavar="DIR", help="images, trimaps and alphas")
    source.add_argument("--drawn", type=int, metavar="N", help="draw N composites")
    source.add_argument("--foregrounds", type=Path, metavar="DIR", help="pictures with alpha to make composites of")
    parser.add_argument("--enlarge", type=int, metavar="PX", help="longer side to which images are enlarged")
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="photographs that composites are made of")
    parser.add_argument(
        "--side", type=int, default=2400, metavar="PX", help="of drawn composites (default %(default)s)"
    )
    parser.add_argument("--sizes", nargs="+", default=["auto", "full"], metavar="SIZE", help="auto, full or pixels")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=arguments.ROOT / "weights/MEMatte_T.safetensors",
        metavar="FILE",
        help="weights that name their config (default: the shipped MEMatte-T)",
    )
    args = parser.parse_args(argv)
    if (args.drawn or args.foregrounds) and not args.backgrounds:
        parser.error("--drawn and --foregrounds need --backgrounds")
    return args


def error(predictor: "Predictor", case: "Case") -> tuple[float, float, float]:
    """Mean absolute error in the unknown region, seconds, seconds of processor time."""
    import numpy as np

    from data.trimap import is_unknown

    start, busy = time.perf_counter(), time.process_time()
    alpha = predictor.predict(case.image, case.trimap, case.name)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    return float(np.abs(alpha - case.alpha)[is_unknown(case.trimap)].mean()), seconds, busy


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = parse(argv)
    log_to_terminal()
    import numpy as np

    from engine.build import build_model, shipped_config
    from modeling import Predictor
    from tools.benchmarks.enlarged import composed, drawn, enlarged

    try:
        if args.data_dir:
            cases = enlarged(args.data_dir, args.enlarge)
        elif args.foregrounds:
            cases = composed(args.foregrounds, args.backgrounds)
        else:
            cases = drawn(args.drawn, args.side, args.backgrounds)
        config = shipped_config(args.checkpoint)
        predictors = [
            Predictor(build_model(config), args.checkpoint, working_size=size, max_memory="auto") for size in args.sizes
        ]
        cli.say("| image | pixels | " + " | ".join(args.sizes) + " |\n|---|---|" + "---|" * len(args.sizes))
        rows = []
        for case in cases:
            rows.append([error(predictor, case) for predictor in predictors])
            cells = " | ".join(f"{row[0]:.3f}" for row in rows[-1])
            cli.say(f"| {case.name} | {case.image.shape[1]} x {case.image.shape[0]} | {cells} |")
    except (ValueError, OSError) as problem:
        logger.error("%s", problem)
        return 2
    means = np.mean(rows, axis=0)  # (sizes, 3)
    for label, column, digits in (("mean", 0, 3), ("seconds", 1, 1), ("processor seconds", 2, 1)):
        cli.say(f"| {label} | | " + " | ".join(f"{value:.{digits}f}" for value in means[:, column]) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
