"""Matte a clip: a video or numbered pictures, with trimaps or masks.

Frames that are finished are not made again, so an interrupted run is continued by the same command.

Exit codes: 0 all done, 1 a frame failed (finished frames stay), 2 wrong arguments or set-up, 130 interrupted.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import tools  # noqa: F401  (puts the repository on the path)
from engine.batch.kinds import KINDS
from engine.messages import log_to_terminal
from tools import arguments, cli

logger = logging.getLogger("matte_clip")

SLOWEST, FASTEST = Fraction(1, 100), 1000  # frames per second
MAX_DENOMINATOR = 100_000  # of a rate; containers store it in 32 bits


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument("clip", type=Path, help="video file, or folder of pictures whose names end in a number")
    parser.add_argument(
        "output",
        type=Path,
        help="folder for the frames, or video: .mov (ProRes 4444), .mkv (FFV1, lossless), .webm (VP9), .mp4 (H.264, "
        "without alpha)",
    )
    guide = parser.add_mutually_exclusive_group(required=True)
    guide.add_argument("--trimaps", type=Path, metavar="CLIP", help="folder or video with the trimap of every frame")
    guide.add_argument("--masks", type=Path, metavar="CLIP", help="folder or video with a mask of every frame")
    arguments.add_band(parser.add_argument_group("trimaps made from masks"))
    arguments.add_compute(arguments.add_model(parser))
    output = parser.add_argument_group("output")
    output.add_argument("--output-kind", choices=KINDS, default="rgba", help="default: %(default)s")
    arguments.add_colours(output)
    arguments.add_bit_depth(output)
    output.add_argument(
        "--rate",
        type=frame_rate,
        default=Fraction(25),
        help="frames per second of a video made from a folder: 25, 23.976, 30000/1001 (default: %(default)s)",
    )
    output.add_argument(
        "--steady",
        type=float,
        default=0.0,
        metavar="STRENGTH",
        help="draw alpha towards that of the frame before, where this predicts the picture: 0 (off, default) to less "
        "than 1, for example 0.7; such a clip is not resumed",
    )
    arguments.add_json(output)
    return parser.parse_intermixed_args(argv)


def frame_rate(text: str) -> Fraction:
    """Type of --rate."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is no rate: write 25, 23.976 or 30000/1001") from None
    if not SLOWEST <= rate <= FASTEST:
        raise argparse.ArgumentTypeError(f"{text} frames per second are out of range: give {SLOWEST} to {FASTEST}")
    return rate.limit_denominator(MAX_DENOMINATOR)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args, start = parse(argv), time.perf_counter()
    log_to_terminal(logging.INFO)
    from engine.batch.clips import open_job, run_clip
    from engine.batch.folders import peak_memory

    try:
        weights = cli.choose_weights(args)
        origin = {**cli.origin(args, weights), "masks": str(args.masks is not None), "steady": str(args.steady)}
        outputs = cli.make_outputs(args, [args.output_kind], origin=origin)
        guide = args.trimaps or args.masks
        is_mask = args.masks is not None
        job = open_job(
            args.clip,
            guide,
            is_mask,
            args.output,
            outputs,
            args.rate,
            arguments.band(args),
            args.steady,
            read=weights,
            written=[args.json],
        )
        predictor = cli.make_predictor(args, weights)
    except (ValueError, OSError, MemoryError) as error:
        logger.error("%s", error or type(error).__name__)
        return 2
    summary = {"error": None}
    try:
        with cli.progress(len(job.clip) or None, "frame") as advance:
            summary["made"], summary["frames"] = made, total = run_clip(predictor, job, advance)
    except ValueError as error:
        logger.error("%s", error)
        summary["error"] = str(error)
    seconds = time.perf_counter() - start
    if summary["error"] is None:
        logger.info(
            "%d frames, %d of them made now, %.1f s, peak %s", total, made, seconds, peak_memory(predictor.device)
        )
    summary |= {"seconds": round(seconds, 3), **cli.memory_record(predictor)}
    return cli.report_json(args.json, summary, 0 if summary["error"] is None else 1)


if __name__ == "__main__":
    sys.exit(main())
