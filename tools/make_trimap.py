"""Make trimaps from masks, alphas, RGBA cut-outs or marks by hand.

One file or a whole folder.

With --box or --strokes the first argument is the photograph, or a folder of photographs, itself.

Exit codes: 0 all made, 1 some files failed, 2 wrong arguments.
"""

import argparse
import functools
import glob
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

import tools  # noqa: F401  (puts the repository on the path)
from data.bands import Band
from data.files import IMAGE_SUFFIXES, FileError, check_outputs, read_bytes, read_image, write_png
from data.folders import images_by_name
from data.masks import DEFAULT_WIDTH, Width, drawn_widths, instance_trimaps, read_mask, trimap_from_mask
from data.parallel import outcomes
from data.products.previews import overlay_trimap
from data.records import fingerprint, is_whole, read_record, record_kind, refuse_foreign
from data.selections import Box, mask_from_boxes, mask_from_strokes, read_strokes
from engine.messages import log_to_terminal
from tools import arguments, cli

logger = logging.getLogger("make_trimap")


@dataclass(frozen=True)
class Job:
    """One mask; `name` is its path inside the folder without suffix."""

    name: str
    mask: Path
    image: Path | None


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = arguments.make_parser(__doc__)
    parser.add_argument("mask", type=Path, help="mask, alpha or RGBA cut-out; or a folder of them")
    parser.add_argument("output", type=Path, help="PNG file or folder to write, as the input is a file or a folder")
    parser.add_argument(
        "--kind",
        choices=("auto", "mask", "alpha", "instances"),
        default="auto",
        help="mask: cut at one half; alpha: soft values are unknown; instances: one trimap for each number, written as "
        "NAME_NUMBER.png; auto: alpha for files with an alpha channel, else mask",
    )
    parser.add_argument(
        "--box",
        action="append",
        metavar="X,Y,W,H",
        help="box around the object in the photograph, in pixels or per cent (10%%,5%%,80%%,90%%); once per object",
    )
    parser.add_argument(
        "--strokes",
        type=Path,
        metavar="FILE",
        help="picture as large as the photograph with strokes: green or white on the object, red around it",
    )
    parser.add_argument(
        "--band", metavar="WIDTH", help="both widths at once; by hand, without it, they follow the picture"
    )
    for side, where in (("inner", "into"), ("outer", "out of")):
        parser.add_argument(
            f"--{side}",
            metavar="WIDTH",
            help=f"how far the unknown band reaches {where} the object: pixels (12) or a "
            f"share of the root of its area (2.5%%); default {str(DEFAULT_WIDTH).replace('%', '%%')}",
        )
    parser.add_argument(
        "--seed", type=int, help="draw both widths anew for each file, up to those given; the same for the same seed"
    )
    parser.add_argument("--preview", type=Path, help="also write overlays here; a file or a folder like the output")
    parser.add_argument("--image", type=Path, help="photograph or folder of them for the overlays (else the mask)")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="make again what this command has finished before, by the record in each file",
    )
    arguments.add_workers(parser)
    args = parser.parse_args(argv)
    args.follows = not (args.band or args.inner or args.outer)
    try:
        args.box = [Box.parse(text) for text in args.box or ()]
        for side in ("inner", "outer"):
            text = getattr(args, side) or args.band
            setattr(args, side, Width.parse(text) if text else DEFAULT_WIDTH)
    except ValueError as error:
        parser.error(str(error))
    if os.path.isfile(args.mask) and args.output.suffix.lower() != ".png":
        parser.error(f"{args.output}: trimaps are PNG files; end the name in .png")
    if args.seed is not None and args.seed < 0:
        parser.error("--seed must be at least 0")
    if args.image and not args.preview:
        parser.error("--image is for the overlays: name where they go with --preview")
    if args.strokes and (args.box or os.path.isdir(args.mask)):
        parser.error("--strokes are for one photograph, without --box")
    if (args.strokes or args.box) and (args.image or args.seed is not None or args.kind != "auto"):
        parser.error("--image, --seed and --kind are for masks, not for --box and --strokes")
    return args


def find_jobs(args: argparse.Namespace) -> list[Job]:
    """Masks to do, with their photographs."""
    if args.mask.is_file():
        return [Job("", args.mask, args.image)]
    if not args.mask.is_dir():
        raise FileError(f"{args.mask}: there is no such file or folder")
    if args.image and not args.image.is_dir():
        raise FileError(f"{args.image}: is no folder, but the masks are in one")
    masks = {name: without_own(paths) for name, paths in images_by_name(args.mask).items()}
    masks = {name: paths for name, paths in masks.items() if paths}
    if not masks:
        raise FileError(f"{args.mask}: holds no masks ({', '.join(IMAGE_SUFFIXES)})")
    images = images_by_name(args.image) if args.image else {}
    if args.image and (missing := sorted(masks.keys() - images.keys())):
        raise FileError(f"{args.image}: holds no photograph {missing[0]} ({len(missing)} missing)")
    if double := [paths for paths in masks.values() if len(paths) > 1]:
        raise FileError(f"{double[0][0]} and {double[0][1].name} would make the same trimap; move one of them away")
    return [Job(name, masks[name][0], images[name][0] if name in images else None) for name in sorted(masks)]


def without_own(paths: Sequence[Path]) -> list[Path]:
    """Files without this project's own trimaps and overlays, by their records."""
    return [path for path in paths if record_kind(read_record(path)) not in ("trimap", "preview")]


def targets(job: Job, args: argparse.Namespace) -> tuple[Path, Path | None]:
    """Files of the trimap and its overlay.

    Of instances, their names without the number.
    """
    target = args.output / f"{job.name}.png" if job.name else args.output
    return target, args.preview and (args.preview / f"{job.name}.png" if job.name else args.preview)


def refuse_overwriting(jobs: Sequence[Job], args: argparse.Namespace) -> None:
    """Refuse outputs that would overwrite inputs, other outputs or somebody's pictures."""
    outputs = [path for job in jobs for path in targets(job, args) if path]
    if args.kind == "instances":  # their numbers are not known yet, but what they could overwrite is there
        outputs = [file for path in outputs for file in path.parent.glob(f"{glob.escape(path.stem)}_*.png")]
    check_outputs(outputs, (path for job in jobs for path in (job.mask, job.image, args.strokes) if path))
    if args.mask.is_dir() and not args.overwrite:
        refuse_foreign(outputs)


def work(job: Job, args: argparse.Namespace) -> int:
    """Write the trimaps of one mask; returns how many."""
    target, preview = targets(job, args)
    instances = args.kind == "instances"
    written = {path: record(kind, job, args) for kind, path in (("trimap", target), ("preview", preview)) if path}
    if not instances and not args.overwrite and all(read_record(path) == made for path, made in written.items()):
        if all(map(is_whole, written)):
            return 0
    if args.box or args.strokes:
        found, image = by_hand(job.mask, args)
        write_all(found, image, target, preview, instances, written)
        return len(found)
    values = read_mask(job.mask, args.kind)
    if not values.any():
        raise FileError(f"{job.mask}: the mask is empty, there is no object in it")
    image = read_image(job.image) if job.image else np.repeat((values > 0)[..., None] * np.uint8(200), 3, axis=2)
    if preview and image.shape[:2] != values.shape:
        raise FileError(f"{job.mask}: is {values.shape}, but its photograph is {image.shape[:2]}; resize one of them")
    widths = args.inner, args.outer
    if args.seed is not None:
        widths = drawn_widths(*widths, args.seed, job.name or job.mask.stem)
    if instances:
        found = instance_trimaps(values, *widths)
    else:
        found = {0: trimap_from_mask(values, *widths)}
    write_all(found, image, target, preview, instances, written)
    return len(found)


def record(kind: str, job: Job, args: argparse.Namespace) -> str:
    """Record of a file's settings and inputs, as in `data.records`."""
    files = [path for path in (job.mask, job.image, args.strokes) if path]
    options = {name: str(getattr(args, name)) for name in ("kind", "box", "inner", "outer", "follows", "seed")}
    parts = {"kind": kind, "inputs": fingerprint(map(read_bytes, files)), "made": {"name": job.name, **options}}
    return json.dumps(parts, sort_keys=True)


def by_hand(photograph: Path, args: argparse.Namespace) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """The trimap that boxes or strokes make, and the photograph."""
    image = read_image(photograph)
    strokes = read_strokes(args.strokes) if args.strokes else None
    try:
        values = mask_from_boxes(image, args.box) if strokes is None else mask_from_strokes(image, strokes)
    except ValueError as error:
        raise FileError(f"{photograph}: {error}") from error
    if not args.follows:
        return {0: Band(args.inner, args.outer).trimap(image, values)}, image
    from engine.batch.trimaps import solve

    return {0: Band().trimap(image, values, solve)}, image


def write_all(
    found: dict[int, np.ndarray],
    image: np.ndarray,
    target: Path,
    preview: Path | None,
    instances: bool,
    records: dict[Path, str],
) -> None:
    """Write trimaps and optional overlays.

    Overlays are written where `preview` names a file; instances get their numbers.
    """
    for number, trimap in found.items():
        suffix = f"_{number}.png" if instances else ".png"
        if preview:
            write_png(preview.with_name(preview.stem + suffix), overlay_trimap(image, trimap), records[preview])
        write_png(target.with_name(target.stem + suffix), trimap, records[target])


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    log_to_terminal(logging.INFO)
    args, start = parse(argv), time.perf_counter()
    try:
        jobs = find_jobs(args)
        refuse_overwriting(jobs, args)
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 2
    made = failed = 0
    for _, count, error in tqdm(
        outcomes(functools.partial(work, args=args), jobs, args.workers, log_to_terminal),
        total=len(jobs),
        disable=None,
        delay=1,
    ):
        made += count or 0
        if error:
            failed += 1
            logger.error("%s", error)
    logger.info("%d trimaps from %d masks, %d failed in %.1f s", made, len(jobs), failed, time.perf_counter() - start)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
