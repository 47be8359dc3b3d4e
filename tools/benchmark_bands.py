"""Unknown bands on images with true alphas: --band auto beside fixed widths.

Masks are good and bad ones.

Masks are made from the true alpha: cut at one half (exact), displaced by 4 and 8 pixels, and as polygons. Per band and
kind of mask the table has: share of the fractional pixels inside the band, share of the picture that is unknown, and
the SAD / 1000 of the whole picture, of the trimap alone (its known pixels) or, with --matte, of the network's alpha.

With --opaque 0.25 pictures without a body are left out: smoke, glass and nebulas, of which a mask cut at one half
shows little or nothing. --every 2 takes every second picture.

  python tools/benchmark_bands.py --data-dir Datasets/photographs --matte
  python tools/benchmark_bands.py --data-dir Datasets/free/validation --opaque 0.25

Exit codes: 0 all done, 2 wrong arguments.
"""

import argparse
import logging
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

import tools  # noqa: F401  (puts the repository on the path)
from data.bands import Band
from data.files import read_alpha, read_image, to_uint8
from data.masks import binary
from data.trimap import is_unknown
from engine.messages import log_to_terminal
from tools import arguments, cli

if TYPE_CHECKING:
    from modeling import Predictor

logger = logging.getLogger("benchmark_bands")
BANDS = ("auto", "8", "16", "32")
POLYGON_PX = 6  # how far a polygon may be from the outline
FRACTIONAL = (13, 242)  # levels of alpha that count as neither opaque nor transparent


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, metavar="DIR", help="images and alphas (and trimaps)")
    parser.add_argument(
        "--opaque", type=float, default=0.0, metavar="SHARE", help="least share of opaque pixels among the object's"
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth picture (default %(default)s)")
    parser.add_argument("--matte", action="store_true", help="run the network on each trimap")
    arguments.add_shipped_checkpoint(parser)
    return parser.parse_args(argv)


def masks(alpha: np.ndarray, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Masks of an alpha (H, W) uint8: exact, displaced in a random direction, polygon."""
    mask, rng = binary(alpha), np.random.default_rng(seed)
    yield "exact", mask
    for distance in (4, 8):
        angle = rng.uniform(0, 2 * np.pi)
        shift = np.float32([[1, 0, distance * np.cos(angle)], [0, 1, distance * np.sin(angle)]])
        moved = cv2.warpAffine(mask, shift, mask.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        yield f"displaced {distance} px", binary(moved)
    outlines = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
    polygons = [cv2.approxPolyDP(outline, POLYGON_PX, True) for outline in outlines if cv2.contourArea(outline) > 60]
    yield "polygon", cv2.fillPoly(np.zeros_like(mask), polygons, 255)


def opaque_share(alpha: np.ndarray) -> float:
    """Share of opaque pixels among the object's, of an alpha (H, W)."""
    return float(np.count_nonzero(alpha > FRACTIONAL[1]) / max(np.count_nonzero(alpha >= FRACTIONAL[0]), 1))


def measure(image: np.ndarray, alpha: np.ndarray, mask: np.ndarray, band: str, predictor: "Predictor | None") -> tuple:
    """Shares of fractional and of unknown pixels, and SAD / 1000.

    The share of fractional pixels is that in the band; SAD counts the whole picture.
    """
    from engine.batch.trimaps import solve

    trimap = Band.parse(band).trimap(image, mask, solve)
    fractional, unknown = (alpha >= FRACTIONAL[0]) & (alpha <= FRACTIONAL[1]), is_unknown(trimap)
    if predictor is None:
        error = np.abs(trimap / 255.0 - alpha / 255.0)[~unknown]
    else:
        error = np.abs(predictor.predict(image, trimap) - alpha / np.float32(255))
    covered = unknown[fractional].mean() if fractional.any() else np.nan
    return float(covered), float(unknown.mean()), float(error.sum() / 1000)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args, results = parse(argv), defaultdict(list)
    log_to_terminal(logging.WARNING)
    from engine.build import build_model, shipped_config
    from engine.training.validation import validation_pairs
    from modeling import Predictor

    try:
        predictor = None
        if args.matte:
            predictor = Predictor(build_model(shipped_config(args.checkpoint)), args.checkpoint)
        for seed, pair in enumerate(validation_pairs(args.data_dir)):
            image, alpha = read_image(pair.image), to_uint8(read_alpha(pair.alpha))
            if seed % args.every or opaque_share(alpha) < args.opaque:
                continue
            for kind, mask in masks(alpha, seed):
                for band in BANDS:
                    results[kind, band].append(measure(image, alpha, mask, band, predictor))
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 2
    cli.say("| mask | " + " | ".join(BANDS) + " |\n|---|" + "---|" * len(BANDS))
    kinds = dict.fromkeys(kind for kind, _ in results)
    for kind in kinds:
        cli.say(f"| {kind} | " + " | ".join(cell(results[kind, band]) for band in BANDS) + " |")
    cli.say(
        "| mean | " + " | ".join(cell([row for kind in kinds for row in results[kind, band]]) for band in BANDS) + " |"
    )
    return 0


def cell(rows: Sequence[tuple[float, float, float]]) -> str:
    """Means of one band as the table shows them."""
    covered, unknown, sad = np.nanmean(rows, axis=0)
    return f"{100 * covered:.1f} %, {100 * unknown:.0f} %, {sad:.2f}"


if __name__ == "__main__":
    sys.exit(main())
