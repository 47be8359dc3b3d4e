"""From photographs and alpha mattes to cut-outs: straight RGBA, foreground colours, composites, previews.

For mattes that are there already; inference.py makes the same on the way with --output-kind.

Exit codes: 0 all made, 1 some files failed, 2 wrong arguments.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tqdm import tqdm

from data.files import FileError, image_size, read_alpha, read_image
from data.folders import Pair, find_masked
from data.products.backgrounds import Background
from engine.batch.folders import Job, checked, plan, prepare_output
from engine.batch.outputs import Outputs
from engine.messages import log_to_terminal
from modeling.inference.predictor import choose_device

logger = logging.getLogger("make_cutout")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, help="photograph, or a folder of them")
    parser.add_argument("alpha", type=Path, help="its alpha, or a folder of alphas named like the photographs")
    parser.add_argument("output", type=Path, help="file or folder to write, as the input is a file or a folder")
    parser.add_argument("--output-kind", type=lambda text: text.split(","), default=["rgba"], metavar="KIND,...",
                        help="one or more of rgba, foreground, composite, preview; of several, each is written as "
                             "NAME_KIND (default: rgba)")  # fmt: skip
    parser.add_argument("--background", metavar="COLOUR|FILE|DIR", help="what composites are made over")
    parser.add_argument("--format", dest="suffix", choices=["png", "tiff", "exr"], default="png",
                        help="exr is linear light (default: %(default)s)")  # fmt: skip
    parser.add_argument("--depth", choices=["8", "16", "half", "float"],
                        help="8 or 16 bits for png and tiff, half or float for exr (default: the smaller)")  # fmt: skip
    parser.add_argument("--premultiplied", action="store_true", help="multiply the colours of cut-outs by alpha")
    parser.add_argument("--overwrite", action="store_true", help="make again what is there")
    parser.add_argument("--device", default="auto", help="where colours are computed: auto, cpu, cuda, cuda:N or mps")
    return parser.parse_args(argv)


def plan_jobs(args: argparse.Namespace, outputs: Outputs) -> list[Job]:
    """What is to be done; raises ValueError where that is not clear."""
    if args.image.is_dir():
        jobs = plan(find_masked(args.image, args.alpha), args.output, outputs)
        prepare_output(args.output)
        return jobs
    for path in (args.image, args.alpha):
        if not path.is_file():
            raise FileError(f"{path}: there is no such file")
    if (suffix := outputs.path(args.output, outputs.kinds[0]).suffix) != args.output.suffix.lower():
        raise FileError(f"{args.output}: is to be written as {suffix[1:].upper()}; give a name that ends in {suffix}")
    jobs = checked([Job(Pair(args.image.stem, args.image, None, mask=args.alpha), args.output)], outputs)
    prepare_output(args.output.parent)
    return jobs


def work(job: Job, outputs: Outputs, overwrite: bool) -> bool:
    """Write the files of one photograph; False if they were there already."""
    pair = job.pair
    if pair.problem:
        raise FileError(pair.problem)
    if not overwrite and outputs.complete(job.output, image_size(pair.image)):
        return False
    image, stored = read_image(pair.image), read_alpha(pair.mask)
    alpha = stored.astype(np.float32) / np.iinfo(stored.dtype).max
    trimap = np.select([alpha == 0, alpha == 1], [np.uint8(0), np.uint8(255)], np.uint8(128))
    job.output.parent.mkdir(parents=True, exist_ok=True)
    outputs.write(job.output, pair.image, image, trimap, alpha, name=pair.name)
    return True


def main(argv: Sequence[str] | None = None) -> int:
    log_to_terminal(logging.INFO)
    args, start = parse(argv), time.perf_counter()
    try:
        if "alpha" in args.output_kind:
            raise ValueError("the alpha is there already; name other kinds of output")
        background = Background.parse(args.background) if args.background else None
        outputs = Outputs(
            args.output_kind, f".{args.suffix}", args.depth, premultiplied=args.premultiplied, background=background,
            device=choose_device(args.device),
        )  # fmt: skip
        jobs = plan_jobs(args, outputs)
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 2
    made = failed = 0
    for job in tqdm(jobs, unit="image", disable=None, delay=1):
        try:
            made += work(job, outputs, args.overwrite or not args.image.is_dir())
        except (ValueError, OSError) as error:
            failed += 1
            logger.error("%s: %s", job.pair.name, " ".join(str(error).split()))
    there = len(jobs) - made - failed
    logger.info("%d made, %d there already, %d failed in %.1f s", made, there, failed, time.perf_counter() - start)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
