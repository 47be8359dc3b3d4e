"""Cut-outs from photographs and alpha mattes: RGBA, foreground colours, composites, previews.

For mattes that are there already; inference.py makes the same on the way with --output-kind.

Exit codes: 0 all made, 1 some files failed, 2 wrong arguments, 130 interrupted.
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
    from engine.batch.folders import Job
    from engine.batch.outputs import Outputs

logger = logging.getLogger("make_cutout")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument("image", type=Path, help="photograph, or a folder of them")
    parser.add_argument("alpha", type=Path, help="its alpha, or a folder of alphas named like the photographs")
    parser.add_argument("output", type=Path, help="file or folder to write, as the input is a file or a folder")
    parser.add_argument(
        "--output-kind",
        type=arguments.comma_separated,
        default=["rgba"],
        metavar="KIND,...",
        help="one or more of rgba, foreground, composite, preview; of several, each is written as NAME_KIND (default: "
        "rgba)",
    )
    arguments.add_colours(parser)
    parser.add_argument("--overwrite", action="store_true", help="make finished files again (always for one file)")
    arguments.add_device(parser)
    arguments.add_json(parser)
    return parser.parse_args(argv)


def plan_jobs(args: argparse.Namespace, outputs: "Outputs") -> "list[Job]":
    """Files to make.

    Raises ValueError where the command line does not say which.
    """
    from data.files import FileError
    from data.folders import Pair, find_masked
    from engine.batch.folders import Job, checked, plan, prepare_output

    if args.image.is_dir():
        pairs = find_masked(args.image, args.alpha, args.output)
        jobs = plan(pairs, args.output, outputs, written=[args.json], overwrite=args.overwrite)
        prepare_output(args.output)
        return jobs
    for path in (args.image, args.alpha):
        if not path.is_file():
            raise FileError(f"{path}: there is no such file")
    if (suffix := outputs.path(args.output, outputs.kinds[0]).suffix) != args.output.suffix.lower():
        raise FileError(f"{args.output}: is to be written as {suffix[1:].upper()}; give a name that ends in {suffix}")
    jobs = checked(
        [Job(Pair(args.image.stem, args.image, None, mask=args.alpha), args.output)], outputs, written=[args.json]
    )
    prepare_output(args.output.parent)
    return jobs


def work(job: "Job", outputs: "Outputs", overwrite: bool) -> bool:
    """Write the files of one photograph; False if they were there already."""
    import numpy as np

    from data.files import FileError, read_alpha, read_bytes, read_image, to_uint8
    from data.records import fingerprint
    from data.trimap import keep_extremes

    pair = job.pair
    if pair.problem:
        raise FileError(pair.problem)
    inputs = fingerprint([read_bytes(pair.image), read_bytes(pair.mask)])
    if not overwrite and outputs.complete(job.output, inputs, pair.name):
        return False
    image, stored = read_image(pair.image), read_alpha(pair.mask)
    alpha = stored.astype(np.float32) / np.iinfo(stored.dtype).max
    trimap = keep_extremes(to_uint8(stored))
    job.output.parent.mkdir(parents=True, exist_ok=True)
    outputs.write(job.output, pair.image, image, trimap, alpha, name=pair.name, inputs=inputs)
    return True


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args, start = parse(argv), time.perf_counter()
    log_to_terminal(logging.INFO)
    try:
        if "alpha" in args.output_kind:
            raise ValueError("the alpha is there already; name other kinds of output")
        outputs = cli.make_outputs(args, args.output_kind)
        jobs = plan_jobs(args, outputs)
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 2
    made, failures = 0, []
    with cli.progress(len(jobs), "image") as advance:
        for job in jobs:
            try:
                made += work(job, outputs, args.overwrite or not args.image.is_dir())
            except (ValueError, OSError) as error:
                failures.append({"name": job.pair.name, "reason": " ".join(str(error).split())})
                logger.error("%s: %s", job.pair.name, failures[-1]["reason"])
            advance()
    counts = {"made": made, "skipped": len(jobs) - made - len(failures), "failed": len(failures)}
    seconds = time.perf_counter() - start
    logger.info("%d made, %d there already, %d failed in %.1f s", *counts.values(), seconds)
    summary = {**counts, "seconds": round(seconds, 3), "failures": failures}
    return cli.report_json(args.json, summary, 1 if failures else 0)


if __name__ == "__main__":
    sys.exit(main())
