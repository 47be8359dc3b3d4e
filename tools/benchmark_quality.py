"""Score MEMatte-T, its teacher, and closed-form and KNN matting on a folder with true alphas, and print the tables.

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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from data.files import FileError, write_atomic  # noqa: E402
from data.parallel import available_cores  # noqa: E402
from engine.messages import log_to_terminal  # noqa: E402
from engine.training.validation import validation_pairs  # noqa: E402
from tools.quality.methods import CLASSICAL, Method  # noqa: E402
from tools.quality.report import common_images, routing_table, score_table  # noqa: E402
from tools.quality.run import measure  # noqa: E402

logger = logging.getLogger("benchmark_quality")
LEARNT = "MEMatte-T, 25 %"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, metavar="DIR", help="images, trimaps and alphas")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file of all measurements")
    parser.add_argument("--student", type=Path, default=ROOT / "weights/MEMatte_T.safetensors", metavar="FILE",
                        help="weights of MEMatte-T (default: the shipped ones)")  # fmt: skip
    parser.add_argument("--teacher", type=Path, default=ROOT / "weights/ViTMatte_T.safetensors", metavar="FILE",
                        help="weights of ViTMatte-T (default: the shipped ones)")  # fmt: skip
    parser.add_argument("--no-classical", action="store_true", help="without closed-form and KNN, which take longest")
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"], help="precision (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=available_cores(), metavar="N", help="cores (all %(default)s)")
    args = parser.parse_args(argv)
    if args.threads < 1:
        parser.error("--threads must be at least 1")
    return args


def methods(args: argparse.Namespace) -> list[Method]:
    """Rows of the table."""
    student, teacher = ROOT / "configs/MEMatte_T.py", ROOT / "configs/ViTMatte_T.py"
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
    """What a file holds of these settings."""
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored.get("settings") != settings:
        raise FileError(f"{path}: was measured with other settings ({stored.get('settings')}); choose another --output")
    return stored["results"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    log_to_terminal(logging.INFO)
    args, failed = parse(argv), 0
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
        write_atomic(args.output, json.dumps({"settings": settings, "results": results}).encode())
    if results:
        print(score_table(results))
        print(f"\nmeans over {len(common_images(results))} of {len(pairs)} images: those that every method could do\n")
    if LEARNT in results:
        print(routing_table(results[LEARNT]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
