"""Check training data before a run: sizes, bad files, sample crops.

    python tools/check_dataset.py DIM/Training_set --backgrounds train2014 --sheet crops.png
    python tools/check_dataset.py my_cutouts --cutouts --backgrounds my_photographs

Exit code 0: all usable; 1: some files are bad (each is named); 2: nothing usable, or wrong arguments.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tools  # noqa: F401  (puts the repository on the path)
from engine.messages import escaped, log_to_terminal
from tools import arguments, cli

if TYPE_CHECKING:
    import numpy as np

    from data.training.datasets import MattingDataset

logger = logging.getLogger("check_dataset")


def check_foregrounds(root: Path, colour_dir: str, alpha_dir: str | None) -> tuple[int, list[str]]:
    """Decode all foregrounds; returns usable pairs and one line per bad file.

    The pairs are counted.
    """
    import numpy as np

    from data.files import FileError
    from data.training.cache import DecodedCache
    from data.training.sources import inspect_foregrounds

    report = inspect_foregrounds(root, colour_dir, alpha_dir)
    problems, cache = list(report.problems), DecodedCache(2**28)
    soft = []
    for foreground in report.foregrounds:
        try:
            alpha = foreground.read_alpha(cache)
            foreground.read_colour(cache, 1, alpha.shape)
            soft.append(float(((alpha > 0) & (alpha < np.iinfo(alpha.dtype).max)).mean()))
        except FileError as error:
            problems.append(str(error))
    print(f"{len(soft)} usable foregrounds in {root}, {len(problems)} bad files")
    if soft:
        _print_sizes(report.sizes)
        low, middle, high = np.percentile(soft, [10, 50, 90])
        print(f"  soft pixels: {middle:.1%} (a tenth of the files below {low:.1%}, a tenth above {high:.1%})")
    return len(soft), problems


def check_backgrounds(root: Path, crop_px: int) -> tuple[int, list[str]]:
    """The same for backgrounds."""
    from data.files import FileError, image_size, read_image
    from data.training.sources import list_images

    problems, sizes = [], []
    for path in list_images(root, recursive=True):
        try:
            read_image(path)
            sizes.append(image_size(path))
        except FileError as error:
            problems.append(str(error))
            continue
        if min(sizes[-1]) < crop_px:
            logger.info("%s: %d x %d, smaller than the crop; it will be enlarged", path, sizes[-1][1], sizes[-1][0])
    print(f"{len(sizes)} usable backgrounds in {root}, {len(problems)} bad files")
    if sizes:
        _print_sizes(sizes)
        small = sum(min(size) < crop_px for size in sizes)
        print(f"  smaller than the {crop_px} pixel crop: {small} (enlarged as published; --verbose names them)")
    return len(sizes), problems


def _print_sizes(sizes: Sequence[tuple[int, int]]) -> None:
    import numpy as np

    long, short = (np.percentile([choose(size) for size in sizes], [0, 50, 100]).astype(int) for choose in (max, min))
    print(
        f"  longer side {long[0]} / {long[1]} / {long[2]}, shorter {short[0]} / {short[1]} / {short[2]} pixels "
        "(least, median, most)"
    )


def contact_sheet(dataset: "MattingDataset", count: int, cell_px: int = 192) -> "np.ndarray":
    """Sheet of crops, uint8 RGB, two crops per row.

    Each as composite, trimap, alpha, and the object alone on a checkerboard.
    """
    import cv2
    import numpy as np

    from data.files import quantise

    cells = []
    for index in np.random.default_rng(dataset.seed).permutation(len(dataset))[:count]:
        sample = dataset[int(index)]
        image = sample["image"].numpy().transpose(1, 2, 0)
        alpha, trimap = sample["alpha"].numpy()[0, ..., None], sample["trimap"].numpy()[0, ..., None]
        y, x = np.indices(alpha.shape[:2]) // 32
        board = 0.35 + 0.3 * ((x + y) % 2)[..., None]
        cut_out = image * alpha + board * (1 - alpha)
        views = image, np.repeat(trimap / 255, 3, axis=2), np.repeat(alpha, 3, axis=2), cut_out
        row = [cv2.resize(np.float32(view), (cell_px, cell_px), interpolation=cv2.INTER_AREA) for view in views]
        cells.append(np.pad(np.hstack(row), ((2, 2), (2, 2), (0, 0)), constant_values=1))
    if len(cells) % 2:
        cells.append(np.ones_like(cells[0]))
    rows = [np.hstack(cells[start : start + 2]) for start in range(0, len(cells), 2)]
    return quantise(np.vstack(rows))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = arguments.make_parser(__doc__)
    parser.add_argument("root", type=Path, help="folder with fg/ and alpha/, or with --cutouts of RGBA files")
    parser.add_argument("--cutouts", action="store_true", help="the folder holds RGBA cut-outs")
    parser.add_argument("--fg", default=None, help="sub-folder of the colours (default fg, with --cutouts .)")
    parser.add_argument("--alpha", default="alpha", help="sub-folder of the alphas (default alpha)")
    parser.add_argument("--backgrounds", type=Path, help="folder of backgrounds, checked too; needed for the sheet")
    parser.add_argument("--sheet", type=Path, default=Path("contact_sheet.png"), help="PNG to write random crops to")
    parser.add_argument("--crops", type=int, default=24, help="crops on the sheet (default 24)")
    parser.add_argument("--crop-size", type=int, default=512, help="side of a crop in pixels (default 512)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="also name backgrounds smaller than the crop")
    args = parser.parse_args(argv)
    if args.crops < 1 or args.crop_size < 16 or args.seed < 0:
        parser.error("--crops from 1, --crop-size from 16, --seed from 0 on")
    if args.sheet.suffix.lower() != ".png":
        parser.error(f"--sheet {args.sheet}: the name must end in .png")
    args.fg = args.fg or ("." if args.cutouts else "fg")
    args.alpha = None if args.cutouts else args.alpha
    return args


def refuse_overwriting(args: argparse.Namespace) -> None:
    """Raise FileError if the sheet would replace a file that is read."""
    from data.files import check_outputs

    folders = [args.root / name for name in (args.fg, args.alpha) if name] + [args.backgrounds]
    check_outputs([args.sheet], (path for folder in folders for path in folder.rglob("*")))


def write_sheet(args: argparse.Namespace) -> None:
    """Write crops of the usable files."""
    from data.files import write_png
    from data.training.augment import CropSettings
    from data.training.crops import CompositionSettings
    from data.training.datasets import MattingDataset
    from data.training.sources import BackgroundFolder, CutoutFolder, ForegroundFolder

    if args.cutouts:
        foregrounds = CutoutFolder(args.root, args.fg, skip_bad=True)
    else:
        foregrounds = ForegroundFolder(args.root, args.fg, args.alpha, skip_bad=True)
    backgrounds = BackgroundFolder(args.backgrounds, skip_bad=True)
    settings = CompositionSettings(crop=CropSettings(size_px=args.crop_size))
    sheet = contact_sheet(MattingDataset(foregrounds, backgrounds, settings, args.seed), args.crops)
    write_png(args.sheet, sheet)
    print(f"crops: {args.sheet} (image, trimap, alpha, image cut out with the alpha)")


def _found(folder: Path) -> Path:
    """Find a folder here, else where the configurations look."""
    from data.training.sources import resolve_root

    return folder.absolute() if folder.is_dir() else resolve_root(folder)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    log_to_terminal(logging.INFO if args.verbose else logging.ERROR)
    try:
        args.root = _found(args.root)
        if args.backgrounds is not None:
            args.backgrounds = _found(args.backgrounds)
            refuse_overwriting(args)
        usable, problems = check_foregrounds(args.root, args.fg, args.alpha)
        if args.backgrounds is not None:
            usable_backgrounds, more = check_backgrounds(args.backgrounds, args.crop_size)
            usable, problems = min(usable, usable_backgrounds), problems + more
        for problem in problems:
            print(f"bad: {escaped(str(problem))}")
        if not usable:
            return 2
        if args.backgrounds is not None:
            write_sheet(args)
    except (ValueError, OSError) as error:
        print(f"error: {escaped(str(error))}", file=sys.stderr)
        return 2
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
