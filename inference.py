"""Alpha mattes for one image or a folder, with trimaps or masks.

Exit codes: 0 all done, 1 some files failed, 2 wrong arguments or set-up, 130 interrupted.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.messages import log_to_terminal
from tools import arguments, cli

if TYPE_CHECKING:
    from data.folders import Pair
    from data.guidance import Guidance
    from engine.batch.folders import Job
    from engine.batch.outputs import Outputs

logger = logging.getLogger("inference")

EXAMPLES = """
A data folder is recognised by its content: merged/ + trimaps/ (Composition-1k), original/ + trimap/ (AIM-500), or
image|images/ + trimap|trimaps/. Image and trimap belong together when their names agree up to the suffix (jpg, jpeg,
png, webp, bmp, tif, tiff); sub-folders are mirrored. Alphas are written as OUTPUT/NAME.png. With --mask, trimaps are
made from masks, alphas or RGBA cut-outs on the way (tools/make_trimap.py shows them), with --box from a box.

examples:
  python inference.py --data samples --output-dir output/samples
  python inference.py photo.jpg --mask photo_mask.png --output-kind rgba
  python inference.py photo.jpg --box 420,180,1600,2300 --output-kind rgba
  python inference.py --config configs/MEMatte_S_topk0.25_win_global_long.py --checkpoint checkpoints/MEMatte_S.pth \\
      --data Datasets/AIM-500 --output-dir predAlpha/AIM-500
  python inference.py --config configs/ViTMatte_S_100ep.py --checkpoint checkpoints/ViTMatte_S.safetensors \\
      --image photo.jpg --trimap photo_trimap.png --output photo_alpha.png --bit-depth 16

A config is Python code, and is run: use only config files that you trust. Checkpoints are read without running code;
with a .safetensors file from a stranger, leave --config-dir out: its metadata can only name a file in configs/.
"""

NEEDED = "give either --data-dir and --inference-dir, or --image, --trimap (or --mask, or --box) and --output"


def build_parser() -> argparse.ArgumentParser:
    """Command line; the first name of an option is the published one."""
    parser = arguments.make_parser(__doc__, EXAMPLES)
    arguments.add_compute(arguments.add_model(parser))
    folder = parser.add_argument_group("a folder")
    folder.add_argument("--data-dir", "--data", dest="data", type=Path, metavar="DIR", help="data folder, see below")
    folder.add_argument(
        "--num-gpus",
        type=int,
        metavar="N",
        help="share the folder among N GPUs, one process each (torchrun does the same)",
    )
    folder.add_argument(
        "--inference-dir",
        "--output-dir",
        dest="output_dir",
        type=Path,
        metavar="DIR",
        help="folder for the alphas; created if necessary",
    )
    single = parser.add_argument_group("or one image")
    single.add_argument("--image", type=Path, metavar="FILE", help="photograph; its name alone is enough")
    single.add_argument("--trimap", type=Path, metavar="FILE", help="its trimap: 0 background, 128 unknown, 255 object")
    single.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="file to write: PNG for an alpha (default: NAME_alpha.png, or NAME_rgba.png and so on, in this folder)",
    )
    add_masks(parser)
    add_output(parser)
    return parser


def add_masks(parser: argparse.ArgumentParser) -> None:
    """Options of masks and boxes that trimaps are made from."""
    masks = parser.add_argument_group("instead of trimaps")
    masks.add_argument(
        "--mask",
        type=Path,
        metavar="FILE|DIR",
        help="make the trimaps from this mask, or from a folder of masks named like the images; the data folder may "
        "then be a plain folder of images",
    )
    masks.add_argument(
        "--kind",
        choices=["auto", "mask", "alpha"],
        default="auto",
        help="mask: cut at one half; alpha: soft values are unknown; auto: alpha for files with an alpha channel, else "
        "mask (default: %(default)s)",
    )
    masks.add_argument(
        "--box",
        action="append",
        metavar="X,Y,W,H",
        help="or from a box around the object, in pixels or, for all images of a folder, in per cent (10%%,5%%,80%%,"
        "90%%); once per object",
    )
    arguments.add_band(masks)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Options of the files to write."""
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output-kind",
        type=arguments.comma_separated,
        default=["alpha"],
        metavar="KIND,...",
        help="one or more of alpha, rgba (cut-out), foreground (its colours), composite, preview; of several, all but "
        "the alpha are written as NAME_KIND (default: alpha)",
    )
    arguments.add_colours(output)
    arguments.add_bit_depth(output)
    again = output.add_mutually_exclusive_group()
    again.add_argument(
        "--resume",
        dest="overwrite",
        action="store_false",
        default=None,
        help="skip outputs that this command has finished before, by the record in each file (default for a folder)",
    )
    again.add_argument(
        "--overwrite",
        dest="overwrite",
        action="store_true",
        default=None,
        help="make finished outputs again (default for one image)",
    )
    arguments.add_json(output)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; bare names stand for --image or --data-dir."""
    args = build_parser().parse_intermixed_args(argv)
    for text in [text for text in args.overrides if "=" not in text]:
        if os.path.isfile(text) and args.image is None:  # unlike those of Path, these take names of any length
            args.image = Path(text)
        elif os.path.isdir(text) and args.data is None:
            args.data = Path(text)
        else:
            continue
        args.overrides.remove(text)
    if args.image and args.output is None:
        kind = args.output_kind[0] if len(args.output_kind) == 1 else "matte"
        suffix = args.suffix if kind in ("rgba", "foreground", "composite") else "png"
        args.output = Path(f"{args.image.stem}_{kind}.{suffix}")
    return args


def check_complete(args: argparse.Namespace) -> None:
    """Raise ValueError with the missing option where the task is not clear."""
    if sum(map(bool, (args.trimap, args.mask, args.box))) > 1:
        raise ValueError("give one of --trimap, --mask and --box")
    if args.image and (args.data or args.output_dir):
        raise ValueError(NEEDED)
    if args.image and not (args.trimap or args.mask or args.box):
        raise ValueError(
            f"{args.image}: where is the object? Give its trimap (--trimap FILE), a mask of it (--mask FILE) or a box "
            "around it (--box X,Y,W,H); make app opens a page to mark it by hand"
        )
    if args.data and not args.output_dir:
        raise ValueError(f"{args.data}: name a folder for the results with --output-dir")
    if args.data and (args.trimap or args.output):
        raise ValueError(NEEDED)
    if not args.image and not args.data:
        raise ValueError(NEEDED)


def plan_jobs(args: argparse.Namespace, outputs: "Outputs", weights: Sequence[Path] = ()) -> "list[Job]":
    """Plan the outputs.

    Raises:
        ValueError: they would overwrite one another or a file that is read.
    """
    from data.folders import Pair
    from engine.batch.folders import Job, checked, plan, prepare_output

    if args.data:
        jobs = plan(
            find_guided(args), args.output_dir, outputs, weights, written=[args.json], overwrite=bool(args.overwrite)
        )
        prepare_output(args.output_dir)
        return jobs
    if not args.output.name:
        raise ValueError("--output is empty or a folder; name a file for the result")
    expected = outputs.path(args.output, outputs.kinds[0]).suffix
    if args.output.suffix.lower() != expected:
        kind = f"{outputs.kinds[0]}s are written as {expected[1:].upper()}"
        raise ValueError(f"--output {args.output}: {kind}; give a name that ends in {expected}")
    pair = Pair(args.image.stem, args.image, args.trimap, mask=args.mask)
    jobs = checked([Job(pair, args.output)], outputs, read=weights, written=[args.json])
    prepare_output(args.output.parent)
    return jobs


def find_guided(args: argparse.Namespace) -> "list[Pair]":
    """The images of a folder with whatever says where the objects are."""
    from data.files import IMAGE_SUFFIXES, FileError
    from data.folders import find_images, find_masked, find_pairs

    if args.mask:
        return find_masked(args.data, args.mask, args.output_dir)
    if args.box:
        return find_images(args.data, args.output_dir)
    try:
        return find_pairs(args.data, args.output_dir)
    except FileError as error:
        if not any(path.suffix.lower() in IMAGE_SUFFIXES for path in args.data.glob("*.*")):
            raise
        raise FileError(
            f"{args.data}: holds photographs without trimaps; give a folder of masks (--mask DIR), or a box around the "
            "object in all of them (--box 10%,5%,80%,90%); make app opens a page to mark it by hand"
        ) from error


def make_guidance(args: argparse.Namespace) -> "Guidance":
    """Settings for making trimaps; raises ValueError where options are missing or conflict."""
    from data.guidance import Guidance
    from data.selections import Box

    return Guidance(args.kind, arguments.band(args), tuple(map(Box.parse, args.box or ())))


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = parse(argv)
    log_to_terminal()
    from engine.batch.folders import run
    from engine.batch.processes import Place, run_on_gpus

    for name in ("modeling", "engine", logger.name):
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        place = Place.from_environment()
        if args.num_gpus is not None and place.world == 1:
            return run_on_gpus(args.num_gpus, sys.argv if argv is None else [__file__, *argv])
        check_complete(args)
        weights, device = cli.choose_weights(args), place.device(args.device)
        outputs = cli.make_outputs(args, args.output_kind, device, cli.origin(args, weights))
        guidance = make_guidance(args)
        jobs = place.share(plan_jobs(args, outputs, weights))
        predictor = cli.make_predictor(args, weights, device, place.sharing(args.device))
    except (ValueError, OSError, MemoryError) as error:
        logger.error("%s", error or type(error).__name__)
        return 2
    overwrite = args.image is not None if args.overwrite is None else args.overwrite
    with cli.progress(len(jobs), "image") as advance:
        report = run(predictor, jobs, outputs=outputs, guidance=guidance, overwrite=overwrite, advance=advance)
    return cli.finish(report, predictor, args.json)


if __name__ == "__main__":
    sys.exit(main())
