"""Compare models on one folder: sheets, scores, seconds and peak memory.

Each model runs in a process of its own. Written to OUTPUT are sheets/NAME.png (image, trimap, the mattes side by side,
and enlarged crops where they disagree most), mattes/LABEL/NAME.png, and compare.json. Where the folder holds true
alphas, the mattes are scored on the unknown region, as evaluation.py does.

  python tools/compare.py --data-dir samples --output output/compare \\
      --model MEMatte-S configs/MEMatte_S_topk0.25_win_global_long.py checkpoints/MEMatte_S.pth \\
      --model AEMatter configs/AEMatter.py checkpoints/AEMatter.ckpt

Exit codes: 0 all done, 1 some files or models failed, 2 wrong arguments or set-up, 130 interrupted.
A config is Python code, and is run: use only config files that you trust.
"""

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tools  # noqa: F401  (puts the repository on the path)
from engine.messages import log_to_terminal
from tools import arguments, cli

if TYPE_CHECKING:
    from tools.comparison.report import Model
    from tools.comparison.run import Comparison

logger = logging.getLogger("compare")

RECORD = "compare.json"
LABEL = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+.-]*")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; options that inference.py has too mean the same."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument(
        "--model",
        dest="models",
        action="append",
        nargs=3,
        required=True,
        metavar=("NAME", "CONFIG", "CHECKPOINT"),
        help="a model and its name in the table; give at least two",
    )
    parser.add_argument(
        "--data-dir",
        "--data",
        dest="data",
        type=Path,
        required=True,
        metavar="DIR",
        help="data folder, as for inference.py",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for everything written")
    arguments.add_compute(parser)
    return parser.parse_args(argv)


def check_arguments(args: argparse.Namespace) -> "list[Model]":
    """Models to compare.

    Raises ValueError for wrong options before anything runs.
    """
    from modeling.inference.budget import parse_memory
    from modeling.inference.working_size import parse_working_size
    from modeling.precision import choose_device, choose_dtype
    from tools.comparison.report import Model

    models = [Model(label, Path(config), Path(checkpoint)) for label, config, checkpoint in args.models]
    labels = [model.label for model in models]
    if len(models) < 2:
        raise ValueError("there is nothing to compare: give --model at least twice")
    if len({label.lower() for label in labels}) < len(labels):
        raise ValueError(f"--model: the names {', '.join(labels)} are not all different, upper or lower case aside")
    for model in models:
        if not LABEL.fullmatch(model.label):
            raise ValueError(
                f"--model {model.label!r}: a name has letters, digits and _ + - . only, as it names a folder"
            )
        for what, path in (("config", model.config), ("checkpoint", model.checkpoint)):
            if not path.is_file():
                raise ValueError(f"--model {model.label}: {path}: no such {what} file")
    choose_dtype(args.dtype, choose_device(args.device))
    if args.max_tokens < 0:
        raise ValueError(f"--max-tokens must be at least 0, got {args.max_tokens}")
    parse_working_size(args.working_size)
    if args.max_memory not in (None, "auto"):
        parse_memory(args.max_memory)
    return models


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = parse(argv)
    log_to_terminal()
    from data.folders import find_pairs
    from engine.batch.folders import Job, checked, plan, prepare_output
    from tools.comparison.run import Comparison

    try:
        models = check_arguments(args)
        pairs = find_pairs(args.data)
        outputs = [job for model in models for job in plan(pairs, args.output / "mattes" / model.label)]
        sheets = [Job(pair, args.output / "sheets" / f"{pair.name}.png") for pair in pairs]
        weights = [path for model in models for path in (model.config, model.checkpoint)]
        checked([*outputs, *sheets], read=weights, written=[args.output / RECORD])
        prepare_output(args.output)
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 2
    names = ("device", "dtype", "max_tokens", "max_memory", "tta", "working_size")
    try:
        comparison = Comparison(models, pairs, args.output, {name: getattr(args, name) for name in names})
        if comparison.pairs:
            for model in models:
                comparison.run_model(model)
        return finish(comparison)
    except KeyboardInterrupt:
        logger.error("interrupted; there is no compare.json of this run")
        return cli.INTERRUPTED


def finish(comparison: "Comparison") -> int:
    """Write sheets and record, print the table; returns the exit code."""
    from data.files import FileError
    from tools.comparison.report import table
    from tools.comparison.run import no_second_warning

    ran = [model for model in comparison.models if model.answer and model.ran]
    if not ran:
        logger.error("no model ran" if comparison.pairs else "no image can be read")
        return 2
    with no_second_warning():
        images = [image for pair in comparison.pairs if (image := comparison.compare(pair))]
    try:
        cli.write_json(comparison.output / RECORD, comparison.record(images))
    except FileError as error:
        logger.error("%s", error)
        return 1
    cli.say(table(comparison.models, images))
    cli.say(f"\n{len(images)} sheets in {comparison.output / 'sheets'}, {len(comparison.failures)} failures")
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    sys.exit(main())
