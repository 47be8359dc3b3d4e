"""Mean error of alpha in the unknown region, by working size, on enlarged photographs or on finely drawn composites.

With --enlarge the images of a folder with true alphas are enlarged (cubic; trimaps by nearest neighbours): pictures of
a large camera that hold no finer detail. With --drawn N composites are drawn at --side pixels, so that their hair,
fur, leaves and nets have detail of single pixels.

  python tools/benchmark_working_size.py --data-dir Datasets/photographs --enlarge 4000 --sizes auto full
  python tools/benchmark_working_size.py --drawn 10 --backgrounds Datasets/free/backgrounds --side 2400

Exit codes: 0 all done, 2 wrong arguments.
"""

import argparse
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.files import FileError, read_alpha, read_image, read_trimap
from data.folders import images_by_name
from data.prepare.drawn import draw_foreground
from data.products.backgrounds import covering_ratio, random_part
from data.trimap import trimap_from_alpha
from engine.build import build_model, shipped_config
from engine.messages import log_to_terminal
from engine.training.validation import validation_pairs
from modeling import Predictor

ROOT = Path(__file__).resolve().parents[1]
logger = logging.getLogger("benchmark_working_size")
KINDS = ("hair", "fur", "leaves", "grass", "net")
NOISE = 2.0  # standard deviation of the sensor noise of drawn composites, in levels


@dataclass(frozen=True)
class Case:
    """A picture with its true alpha (H, W), float32 in [0, 1]."""

    name: str
    image: np.ndarray
    trimap: np.ndarray
    alpha: np.ndarray


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data-dir", type=Path, metavar="DIR", help="images, trimaps and alphas")
    source.add_argument("--drawn", type=int, metavar="N", help="draw N composites")
    parser.add_argument("--enlarge", type=int, metavar="PX", help="longer side to which images are enlarged")
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="photographs that drawn composites are made of")
    parser.add_argument(
        "--side", type=int, default=2400, metavar="PX", help="of drawn composites (default %(default)s)"
    )
    parser.add_argument("--sizes", nargs="+", default=["auto", "full"], metavar="SIZE", help="auto, full or pixels")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=ROOT / "weights/MEMatte_T.safetensors",
        metavar="FILE",
        help="weights that name their config (default: the shipped MEMatte-T)",
    )
    args = parser.parse_args(argv)
    if args.drawn and not args.backgrounds:
        parser.error("--drawn needs --backgrounds")
    return args


def enlarged(folder: Path, side_px: int | None) -> Iterator[Case]:
    """The images of a folder with true alphas, enlarged to `side_px` unless that is None."""
    for pair in validation_pairs(folder):
        image, trimap, alpha = read_image(pair.image), read_trimap(pair.trimap), read_alpha(pair.alpha)
        alpha = alpha.astype(np.float32) / np.iinfo(alpha.dtype).max
        if side_px is not None:
            scale = side_px / max(trimap.shape)
            size = round(trimap.shape[1] * scale), round(trimap.shape[0] * scale)
            image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
            trimap = cv2.resize(trimap, size, interpolation=cv2.INTER_NEAREST)
            alpha = np.clip(cv2.resize(alpha, size, interpolation=cv2.INTER_CUBIC), 0, 1)
        yield Case(pair.name, image, trimap, alpha)


def drawn(count: int, side_px: int, backgrounds: Path) -> Iterator[Case]:
    """Composites with detail of single pixels; the same for the same arguments."""
    photographs = [paths[0] for _, paths in sorted(images_by_name(backgrounds).items())]
    if not photographs:
        raise FileError(f"{backgrounds}: holds no photographs")
    size = side_px * 3 // 4, side_px
    for number in range(count):
        rng, kind = np.random.default_rng(number), KINDS[number % len(KINDS)]
        texture, behind = (read_image(photographs[rng.integers(len(photographs))]) for _ in range(2))
        layer = draw_foreground(kind, size, rng, texture).astype(np.float32)
        alpha = layer[..., 3] / 255
        background = random_part(behind, size, covering_ratio(behind, size), rng).astype(np.float32)
        image = background + (layer[..., :3] - background) * alpha[..., None]
        image += rng.normal(0, NOISE, image.shape).astype(np.float32)
        trimap = trimap_from_alpha(alpha, *(int(side_px * share) | 1 for share in (0.005, 0.015)))
        yield Case(f"{kind} {number}", np.rint(np.clip(image, 0, 255)).astype(np.uint8), trimap, alpha)


def error(predictor: Predictor, case: Case) -> tuple[float, float, float]:
    """Mean absolute error in the unknown region, seconds, seconds of processor time."""
    start, busy = time.perf_counter(), time.process_time()
    alpha = predictor.predict(case.image, case.trimap, case.name)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    return float(np.abs(alpha - case.alpha)[case.trimap == 128].mean()), seconds, busy


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    log_to_terminal(logging.WARNING)
    args = parse(argv)
    try:
        if args.data_dir:
            cases = enlarged(args.data_dir, args.enlarge)
        else:
            cases = drawn(args.drawn, args.side, args.backgrounds)
        config = shipped_config(args.checkpoint)
        predictors = [
            Predictor(build_model(config), args.checkpoint, working_size=size, max_memory="auto") for size in args.sizes
        ]
        print("| image | pixels | " + " | ".join(args.sizes) + " |\n|---|---|" + "---|" * len(args.sizes))
        rows = []
        for case in cases:
            rows.append([error(predictor, case) for predictor in predictors])
            cells = " | ".join(f"{row[0]:.3f}" for row in rows[-1])
            print(f"| {case.name} | {case.image.shape[1]} x {case.image.shape[0]} | {cells} |", flush=True)
    except (ValueError, OSError) as problem:
        logger.error("%s", problem)
        return 2
    means = np.mean(rows, axis=0)  # (sizes, 3)
    for label, column, digits in (("mean", 0, 3), ("seconds", 1, 1), ("processor seconds", 2, 1)):
        print(f"| {label} | | " + " | ".join(f"{value:.{digits}f}" for value in means[:, column]) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
