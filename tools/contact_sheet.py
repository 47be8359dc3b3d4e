"""One picture of the mattes of one or more folders.

A row shows image, trimap, alpha, the true alpha where there is one, and the cut-out on a checkerboard.

  python inference.py --data-dir samples --inference-dir output/demo --output-kind alpha,rgba
  python tools/contact_sheet.py --data-dir samples --matte-dir output/demo --output output/demo/sheet.png

Exit codes: 0 written, 1 some mattes are missing, 2 wrong arguments.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

import tools  # noqa: F401  (puts the repository on the path)
from data.files import FileError, check_outputs, read_alpha, read_cutout, read_image, read_trimap, to_uint8, write_png
from data.folders import Pair, find_pairs
from data.products.previews import checkerboard, over, overlay_trimap, panels
from engine.messages import log_to_terminal
from tools import arguments, cli

logger = logging.getLogger("contact_sheet")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line and check its values."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument("--data-dir", type=Path, nargs="+", required=True, metavar="DIR", help="images and trimaps")
    parser.add_argument(
        "--matte-dir",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="results of inference.py for each: NAME.png, and NAME_rgba.png for the last column",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the picture, a PNG file")
    parser.add_argument("--side", type=int, default=256, metavar="PX", help="of a cell (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.side < 16 or args.output.suffix.lower() != ".png":
        parser.error("--side must be at least 16, and --output must end in .png")
    if len(args.data_dir) != len(args.matte_dir):
        parser.error("give one --matte-dir for each --data-dir")
    return args


def row(pair: Pair, folder: Path, side: int) -> list[tuple[str, np.ndarray]]:
    """Captioned cells of one image."""
    image, alpha = read_image(pair.image), read_alpha(folder / f"{pair.name}.png")
    truth = np.full_like(image, 255) if pair.alpha is None else read_alpha(pair.alpha)
    cutout = folder / f"{pair.name}_rgba.png"
    shown = np.full_like(image, 255) if not cutout.is_file() else on_checkerboard(*read_cutout(cutout))
    columns = [
        (pair.name, image),
        ("trimap", overlay_trimap(image, read_trimap(pair.trimap))),
        ("alpha", to_uint8(alpha)),
        ("true alpha" if pair.alpha else "", to_uint8(truth)),
        ("cut-out" if cutout.is_file() else "", shown),
    ]
    return [(caption, fitted(picture, side)) for caption, picture in columns]


def on_checkerboard(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3)."""
    weight = to_uint8(alpha).astype(np.float32) / 255
    board = checkerboard(*alpha.shape).astype(np.float32)
    return np.rint(over(colour.astype(np.float32), weight, board)).astype(np.uint8)


def fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """uint8 (side, side, 3): the whole picture on white."""
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    ratio = side / max(picture.shape[:2])
    width, height = (max(1, round(length * ratio)) for length in (picture.shape[1], picture.shape[0]))
    cell = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    cell[top : top + height, left : left + width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return cell


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args, cells, missing = parse(argv), [], 0
    log_to_terminal()
    try:
        found = zip(args.matte_dir, map(find_pairs, args.data_dir), strict=True)
        pairs = [(pair, folder) for folder, of_folder in found for pair in of_folder]
        mattes = [folder / f"{pair.name}{end}.png" for pair, folder in pairs for end in ("", "_rgba")]
        images = [path for pair, _ in pairs for path in (pair.image, pair.trimap, pair.alpha) if path]
        check_outputs([args.output], [*mattes, *images])
    except FileError as error:
        logger.error("%s", error)
        return 2
    for pair, folder in pairs:
        try:
            if pair.problem:
                raise FileError(f"{pair.name}: {pair.problem}")
            cells += row(pair, folder, args.side)
        except FileError as error:
            logger.error("%s", error)
            missing += 1
    if not cells:
        logger.error("%s: no matte there", ", ".join(map(str, args.matte_dir)))
        return 2
    sheet = panels(cells, columns=5, max_side_px=args.side)
    try:
        write_png(args.output, sheet)
    except FileError as error:
        logger.error("%s", error)
        return 2
    cli.say(f"{len(pairs) - missing} mattes on {args.output}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
