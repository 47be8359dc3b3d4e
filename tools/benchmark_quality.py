"""Score MEMatte-T, its teacher and two classical methods on true alphas.

MEMatte-T is run as it was trained, with all and with a twentieth of the tokens in global attention, and with as many
tokens as it wants but random ones. Each method runs in a process of its own; what the JSON file holds already
is not measured again. The classical methods come from pymatting, which requirements-dev.txt installs.

  python tools/benchmark_quality.py --data-dir Datasets/validation --output output/quality.json

Exit codes: 0 all done, 1 a method failed, 2 wrong arguments.
"""

import argparse
import json
import logging
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

import tools  # noqa: F401  (puts the repository on the path)
from engine.messages import log_to_terminal
from tools import arguments, cli

if TYPE_CHECKING:
    from tools.quality.methods import Method

logger = logging.getLogger("benchmark_quality")
LEARNT = "MEMatte-T, 25 %"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line and check its values."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, metavar="DIR", help="images, trimaps and alphas")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file of all measurements")
    parser.add_argument(
        "--student",
        type=Path,
        default=arguments.ROOT / "weights/MEMatte_T.safetensors",
        metavar="FILE",
        help="weights of MEMatte-T (default: the shipped ones)",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        default=arguments.ROOT / "weights/ViTMatte_T.safetensors",
        metavar="FILE",
        help="weights of ViTMatte-T (default: the shipped ones)",
    )
    parser.add_argument("--no-classical", action="store_true", help="without closed-form and KNN, which take longest")
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"], help="precision (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=arguments.cores(), metavar="N", help="cores (all %(default)s)")
    args = parser.parse_args(argv)
    if args.threads < 1:
        parser.error("--threads must be at least 1")
    return args


def methods(args: argparse.Namespace) -> "list[Method]":
    """Rows of the table."""
    from tools.quality.methods import CLASSICAL, Method

    student, teacher = arguments.ROOT / "configs/MEMatte_T.py", arguments.ROOT / "configs/ViTMatte_T.py"
    rows = [] if args.no_classical else [Method(label) for label in CLASSICAL]
    return [
        *rows,
        Method("ViTMatte-T", teacher, args.teacher),
        Method(LEARNT, student, args.student),
        Method("MEMatte-T, all tokens", student, args.student, "1"),
        Method("MEMatte-T, 5 %", student, args.student, "0.05"),
        Method("MEMatte-T, random tokens", student, args.student, "random"),
    ]


def read_results(path: Path, settings: dict) -> dict:
    """Results in a file with these settings; none without a file."""
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored.get("settings") != settings:
        raise ValueError(
            f"{path}: was measured with other settings ({stored.get('settings')}); choose another --output"
        )
    return stored["results"]


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args, failed = parse(argv), 0
    log_to_terminal(logging.INFO)
    from engine.training.validation import validation_pairs
    from tools.quality.report import common_images, routing_table, score_table
    from tools.quality.run import measure

    settings = {"images": args.data_dir.name, "dtype": args.dtype, "threads": args.threads}
    try:
        pairs = validation_pairs(args.data_dir)
        results = read_results(args.output, settings)
        args.output.parent.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 2
    for method in methods(args):
        if method.label in results:
            continue
        logger.info("%s: %d images", method.label, len(pairs))
        try:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                results[method.label] = process.submit(measure, method, pairs, args.dtype, args.threads).result()
        except (ValueError, ImportError, BrokenProcessPool) as error:
            logger.error("%s: %s", method.label, error)
            failed += 1
            continue
        cli.write_json(args.output, {"settings": settings, "results": results})
    if results:
        cli.say(score_table(results))
        cli.say(
            f"\nmeans over {len(common_images(results))} of {len(pairs)} images: those that every method could do\n"
        )
    if LEARNT in results:
        cli.say(routing_table(results[LEARNT]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
