"""Compare several models on one folder: a contact sheet an image, scores, seconds and peak memory.

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
import json
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from data.files import FileError, write_atomic  # noqa: E402
from data.folders import find_pairs  # noqa: E402
from engine.batch.folders import Job, checked, plan, prepare_output  # noqa: E402
from engine.messages import log_to_terminal  # noqa: E402
from modeling.inference.budget import parse_memory  # noqa: E402
from modeling.inference.predictor import choose_device, choose_dtype  # noqa: E402
from tools.comparison.report import Model, table  # noqa: E402
from tools.comparison.run import INTERRUPTED, Comparison, no_second_warning  # noqa: E402

logger = logging.getLogger("compare")

LABEL = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+.-]*")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; options that inference.py has too mean the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", dest="models", action="append", nargs=3, required=True,
                        metavar=("NAME", "CONFIG", "CHECKPOINT"),
                        help="a model and what to call it; give at least two")  # fmt: skip
    parser.add_argument("--data-dir", "--data", dest="data", type=Path, required=True, metavar="DIR",
                        help="data folder, as for inference.py")  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where everything goes")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    parser.add_argument("--dtype", default="auto", choices=["auto", "fp32", "bf16", "fp16"],
                        help="precision; auto is fp32, fp16 needs a GPU (default: %(default)s)")  # fmt: skip
    parser.add_argument("--max-number-token", "--max-tokens", dest="max_tokens", type=int, default=18_500, metavar="N",
                        help="most tokens (16 x 16 pixels each) of an image that a routed block sends to global "
                             "attention (default: %(default)s)")  # fmt: skip
    parser.add_argument("--max-memory", metavar="SIZE", help="what each model's process may use, 4GB for example, or "
                                                             "auto (default: no bound)")  # fmt: skip
    parser.add_argument("--tta", action="store_true", help="average eight passes of each model over turned and "
                                                           "mirrored views; eight times slower")  # fmt: skip
    return parser.parse_args(argv)


def check_arguments(args: argparse.Namespace) -> list[Model]:
    """The models; raises ValueError where something is wrong that shows before anything runs."""
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
    if args.max_memory not in (None, "auto"):
        parse_memory(args.max_memory)
    return models


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = parse(argv)
    log_to_terminal()
    try:
        models = check_arguments(args)
        pairs = find_pairs(args.data)
        outputs = [job for model in models for job in plan(pairs, args.output / "mattes" / model.label)]
        checked([*outputs, *(Job(pair, args.output / "sheets" / f"{pair.name}.png") for pair in pairs)])
        prepare_output(args.output)
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 2
    names = ("device", "dtype", "max_tokens", "max_memory", "tta")
    try:
        comparison = Comparison(models, pairs, args.output, {name: getattr(args, name) for name in names})
        if comparison.pairs:
            for model in models:
                comparison.run_model(model)
        return finish(comparison)
    except KeyboardInterrupt:
        logger.error("interrupted; there is no compare.json of this run")
        return INTERRUPTED


def finish(comparison: Comparison) -> int:
    """Sheets, table and record; returns the exit code."""
    ran = [model for model in comparison.models if model.answer and model.ran]
    if not ran:
        logger.error("no model ran" if comparison.pairs else "no image can be read")
        return 2
    with no_second_warning():
        images = [image for pair in comparison.pairs if (image := comparison.compare(pair))]
    try:
        record = json.dumps(comparison.record(images), indent=1, allow_nan=False) + "\n"
        write_atomic(comparison.output / "compare.json", record.encode())
    except FileError as error:
        logger.error("%s", error)
        return 1
    print(table(comparison.models, images))
    print(f"\n{len(images)} sheets in {comparison.output / 'sheets'}, {len(comparison.failures)} failures")
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    sys.exit(main())
