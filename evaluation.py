"""Scores of a folder of alpha mattes: SAD, MSE, Grad and Conn.

Exit codes: 0 all scored, 1 some images failed or are missing, 2 wrong arguments.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from data.files import FileError, check_outputs, write_text
from engine.messages import escaped, log_to_terminal
from metrics.folder import FolderScores, prepare_worker, score_folder
from metrics.page import as_html
from metrics.report import as_csv, as_json, as_table
from tools import arguments, cli


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument("--pred-dir", type=Path, required=True, help="predicted alphas, 8-bit, matched by file stem")
    parser.add_argument(
        "--label-dir", type=Path, required=True, help="true alphas; <name>.png also serves <name>_<index>.png"
    )
    parser.add_argument("--trimap-dir", type=Path, help="trimaps of 0, 128 and 255; optional with --whole-image")
    parser.add_argument("--whole-image", action="store_true", help="count every pixel, not just the unknown ones")
    parser.add_argument("--allow-missing", action="store_true", help="missing predictions are counted, but no failure")
    parser.add_argument(
        "--snap-trimap", action="store_true", help="take trimap values <= 25 as 0, >= 230 as 255, the rest as 128"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the scores of each image as CSV")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write mean and scores of each image as JSON")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write an HTML page: means, distributions, worst images, error maps"
    )
    arguments.add_workers(parser)
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse and check the arguments before any work; exits with 2."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.trimap_dir is None and not args.whole_image:
        parser.error("--trimap-dir is needed, or --whole-image to count every pixel")
    reports = {"--csv": args.csv, "--json": args.json, "--report": args.report}
    for option, path in reports.items():
        if path and (os.path.isdir(path) or not os.access(path.absolute().parent, os.W_OK)):
            parser.error(f"{option} {path} cannot be written: name a file in a folder that exists and is writable")
    folders = (folder for folder in (args.pred_dir, args.label_dir, args.trimap_dir) if folder and folder.is_dir())
    try:
        check_outputs(filter(None, reports.values()), (path for folder in folders for path in folder.iterdir()))
    except (FileError, OSError) as error:
        parser.error(str(error))
    return args


def report(result: FolderScores, args: argparse.Namespace) -> int:
    """Show and write the result; returns the exit code."""
    failed = [f"{image.name}: {image.error}" for image in result.errors]
    if not args.allow_missing:
        failed += [f"{name}: no prediction in {args.pred_dir}" for name in result.missing]
    for line in sorted(failed):
        print(f"error: {escaped(line)}", file=sys.stderr)
    for name in result.without_unknown:
        print(f"warning: {escaped(name)}: no unknown pixel in its trimap, left out of the mean", file=sys.stderr)
    if result.unused:
        named = escaped(", ".join(result.unused[:3]) + (", ..." if len(result.unused) > 3 else ""))
        print(
            f"warning: {len(result.unused)} predictions that nothing asks for were ignored: {named}",
            file=sys.stderr,
        )
    print(as_table(result, escaped))
    if not result.scored:
        failed.append("no image could be scored")
        print("error: no image could be scored, so there is no mean", file=sys.stderr)

    def page(scores: FolderScores) -> str:
        return as_html(scores, scores.entries, args.pred_dir.name, args.snap_trimap)

    for path, text in ((args.csv, as_csv), (args.json, as_json), (args.report, page)):
        if path is None:
            continue
        try:
            write_text(path, text(result))
        except FileError as error:
            failed.append(str(path))
            print(f"error: {escaped(str(error))}", file=sys.stderr)
    return 1 if failed else 0


def prepare() -> None:
    """Set up a process that scores."""
    prepare_worker()
    log_to_terminal()


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = parse(argv)
    log_to_terminal()
    if args.workers == 1:
        prepare_worker()
    with tqdm(unit="image", desc="scoring", disable=None, delay=0.2) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            result = score_folder(
                args.pred_dir,
                args.label_dir,
                args.trimap_dir,
                whole_image=args.whole_image,
                snap_trimap=args.snap_trimap,
                workers=args.workers,
                prepare=prepare,
                progress=advance,
            )
        except (ValueError, OSError) as error:
            print(f"error: {escaped(str(error))}", file=sys.stderr)
            return 2
    return report(result, args)


if __name__ == "__main__":
    sys.exit(main())
