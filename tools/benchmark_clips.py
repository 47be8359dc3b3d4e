"""Flicker and error of clip mattes, frame by frame and with --steady.

The alphas of the clip are known; --steady is that of matte_clip.py.

The clip is composed here: drawn hair, fur and leaves that drift and turn over a panning photograph, with sensor noise.
Per strength of --steady the table has the mean error of alpha in the unknown region and the frame-to-frame error: the
root of the mean square of what alpha changes by beyond the change of the true alpha.

  python tools/benchmark_clips.py --frames 12 --strengths 0 0.5 0.7 0.9

Exit codes: 0 all done, 2 wrong arguments.
"""

import argparse
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tools  # noqa: F401  (puts the repository on the path)
from engine.messages import log_to_terminal
from tools import arguments, cli

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger("benchmark_clips")
KINDS = ("hair", "fur", "leaves")
HEIGHT, WIDTH = 360, 480
DRIFT_PX, TURN_DEGREES, PAN_PX = (2.3, 0.7), 0.6, 1.4  # per frame
NOISE = 3.0  # standard deviation of the sensor noise, in levels
BAND_PX = 11, 25  # kernels of the trimap, into the object and out of it


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line and check its values."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument("--frames", type=int, default=12, metavar="N", help="per clip (default %(default)s)")
    parser.add_argument(
        "--strengths", type=float, nargs="+", default=[0.0, 0.5, 0.7, 0.9], metavar="S", help="of --steady"
    )
    parser.add_argument("--motion", type=float, default=1.0, metavar="X", help="factor of all speeds (default 1)")
    parser.add_argument(
        "--backgrounds",
        type=Path,
        default=arguments.ROOT / "samples" / "original",
        metavar="DIR",
        help="photographs that the clips are made of (default: the samples)",
    )
    arguments.add_shipped_checkpoint(parser)
    args = parser.parse_args(argv)
    if args.frames < 2:
        parser.error("--frames: a clip has at least 2")
    return args


def composed(
    kind: str, count: int, backgrounds: Path, motion: float = 1.0
) -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    """Frames (H, W, 3) uint8 of a moving object, with true alphas.

    The alphas are (H, W) float32. The same arguments give the same frames.
    """
    import cv2
    import numpy as np

    from data.files import FileError, read_image
    from data.folders import images_by_name
    from data.prepare.drawn import draw_foreground
    from data.products.backgrounds import covering_ratio, random_part

    photographs = [paths[0] for _, paths in sorted(images_by_name(backgrounds).items())]
    if not photographs:
        raise FileError(f"{backgrounds}: holds no photographs")
    rng = np.random.default_rng(KINDS.index(kind) if kind in KINDS else 0)
    texture, behind = (read_image(photographs[rng.integers(len(photographs))]) for _ in range(2))
    layer = draw_foreground(kind, (HEIGHT, WIDTH), rng, texture).astype(np.float32) / 255
    layer[..., :3] *= layer[..., 3:]  # premultiplied, so that moving it mixes no colours of transparent pixels
    wide = HEIGHT, WIDTH + math.ceil(motion * PAN_PX * count)
    background = random_part(behind, wide, covering_ratio(behind, wide), rng).astype(np.float32) / 255
    for number in range(count):
        moved = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), motion * TURN_DEGREES * number, 1)
        moved[:, 2] += motion * np.array(DRIFT_PX) * (number - count / 2)
        over = cv2.warpAffine(layer, moved, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
        panned = np.float32([[1, 0, -motion * PAN_PX * number], [0, 1, 0]])
        under = cv2.warpAffine(background, panned, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
        alpha = np.clip(over[..., 3], 0, 1)
        image = 255 * (over[..., :3] + under * (1 - alpha[..., None])) + rng.normal(0, NOISE, under.shape)
        yield np.rint(np.clip(image, 0, 255)).astype(np.uint8), alpha


class Errors:
    """Errors of one sequence of alphas."""

    def __init__(self) -> None:
        self.absolute: list[float] = []
        self.changes: list[float] = []
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, alpha: "np.ndarray", true: "np.ndarray", unknown: "np.ndarray") -> None:
        """Add a frame; all (H, W), `unknown` bool."""
        import numpy as np

        self.absolute.append(float(np.abs(alpha - true)[unknown].mean()))
        if self._before is not None:
            change = (alpha - self._before[0]) - (true - self._before[1])
            self.changes.append(float(np.sqrt((change[unknown] ** 2).mean())))
        self._before = alpha, true


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = parse(argv)
    log_to_terminal(logging.WARNING)
    import numpy as np

    from data.products.steady import Steady
    from data.trimap import is_unknown, trimap_from_alpha
    from engine.build import build_model, shipped_config
    from modeling import Predictor

    cells = {strength: [] for strength in args.strengths}
    try:
        predictor = Predictor(build_model(shipped_config(args.checkpoint)), args.checkpoint)
        for kind in KINDS:
            steadied = {strength: (Steady(strength), Errors()) for strength in args.strengths}
            for image, true in composed(kind, args.frames, args.backgrounds, args.motion):
                trimap = trimap_from_alpha(true, *BAND_PX)
                alpha = predictor.predict(image, trimap)
                for steady, errors in steadied.values():
                    errors.add(steady(image, trimap, alpha), true, is_unknown(trimap))
            for strength, (_, errors) in steadied.items():
                cells[strength].append((np.mean(errors.absolute), np.mean(errors.changes)))
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 2
    cli.say("| --steady | " + " | ".join([*KINDS, "mean"]) + " |\n|---|" + "---|" * (len(KINDS) + 1))
    for strength, rows in cells.items():
        values = [*rows, np.mean(rows, axis=0)]
        cli.say(f"| {strength:g} | " + " | ".join(f"{error:.4f}, {change:.4f}" for error, change in values) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
