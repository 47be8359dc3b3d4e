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
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from data.files import FileError, read_alpha, write_atomic  # noqa: E402
from data.folders import Pair, find_pairs  # noqa: E402
from engine.folder_run import Job, checked, plan, prepare_output, read_pair  # noqa: E402
from metrics.files import read_channel  # noqa: E402
from metrics.scores import Scores, score_pair  # noqa: E402
from modeling.budget import parse_memory  # noqa: E402
from modeling.predictor import choose_device, choose_dtype  # noqa: E402
from tools.comparison.report import Compared, Model, mean_scores, scored_by_all, table  # noqa: E402
from tools.comparison.sheet import Panel, make_sheet  # noqa: E402

logger = logging.getLogger("compare")

LABEL = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+.-]*")
INTERRUPTED = 130


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


class Comparison:
    """What is compared, and what failed so far."""

    def __init__(self, models: list[Model], pairs: list[Pair], output: Path, settings: dict) -> None:
        self.models, self.output, self.settings = models, output, settings
        self.failures: dict[str, str] = {}
        self.pairs = [pair for pair in pairs if self._readable(pair)]

    def _fail(self, name: str, reason: Exception | str) -> None:
        self.failures[name] = " ".join(str(reason).split())
        logger.error("%s: %s", name, self.failures[name])

    def _readable(self, pair: Pair) -> bool:
        """Whether the files can be read at all; said once here instead of once a model."""
        try:
            read_pair(pair)
        except ValueError as error:
            self._fail(pair.name, error)
            return False
        return True

    def matte_folder(self, model: Model) -> Path:
        return self.output / "mattes" / model.label

    def run_model(self, model: Model) -> None:
        """Run one model in a fresh process and keep its answer."""
        files = [(pair.name, str(pair.image), str(pair.trimap)) for pair in self.pairs]
        request = {"label": model.label, "config": str(model.config), "checkpoint": str(model.checkpoint),
                   "pairs": files, "output": str(self.matte_folder(model)), "settings": self.settings}  # fmt: skip
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(
            [sys.executable, "-m", "tools.comparison.worker"],
            input=json.dumps(request),
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        if done.returncode == INTERRUPTED:
            raise KeyboardInterrupt
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            model.answer = {"error": _exit_reason(done.returncode)}
        else:
            model.answer = json.loads(lines[-1])
        if not model.ran:
            self._fail(model.label, model.answer["error"])
            return
        for name, reason in model.answer["failures"].items():
            self.failures[f"{model.label}: {name}"] = reason  # logged by its process

    def compare(self, pair: Pair) -> Compared | None:
        """Score the mattes of one image and write its sheet; None where that failed."""
        sheet = Path("sheets") / f"{pair.name}.png"
        result = Compared(pair.name, sheet.as_posix())
        try:
            image, trimap = read_pair(pair)
            truth = self._truth(pair)
            panels = []
            for model in self.models:
                alpha = None
                if model.ran and pair.name not in model.answer["failures"]:
                    alpha = read_alpha(self.matte_folder(model) / f"{pair.name}.png")
                lines = [model.label if alpha is not None else f"{model.label}: failed"]
                if truth is not None and alpha is not None:
                    result.scores[model.label] = score_pair(alpha, truth, trimap)
                    lines.append(score_line(result.scores[model.label]))
                panels.append(Panel(tuple(lines), alpha))
            result.scores = {label: scores for label, scores in result.scores.items() if scores.defined}
            truth_panel = None if truth is None else Panel(("ground truth",), truth)
            write_png(self.output / sheet, make_sheet(image, trimap, panels, truth_panel))
        except ValueError as error:
            self._fail(pair.name, error)
            return None
        return result

    def _truth(self, pair: Pair) -> np.ndarray | None:
        """True alpha, or None where there is none that can be used."""
        if pair.alpha is None:
            return None
        try:
            truth = read_channel(pair.alpha, "label", binary_ok=True)
            image, _ = read_pair(pair)
            if truth.shape != image.shape[:2]:
                raise ValueError(f"label {pair.alpha.name} has another size than the image")
        except ValueError as error:
            self._fail(pair.name, f"not scored: {error}")
            return None
        return truth

    def record(self, images: list[Compared]) -> dict:
        """For compare.json."""
        common = scored_by_all(self.models, images)
        return {
            "settings": self.settings,
            "models": [model.record(mean_scores(model.label, common)) for model in self.models],
            "images": [image.record() for image in images],
            "failures": self.failures,
        }


def score_line(scores: Scores) -> str:
    """Two of the four scores, for the sheet."""
    return f"SAD {scores.sad:.2f}  MSE {scores.mse:.2f}" if scores.defined else "nothing unknown"


def write_png(path: Path, rgb: np.ndarray) -> None:
    """Atomically, folders included."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{path.parent}: cannot be created ({error.strerror or error})") from error
    write_atomic(path, cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes())


def _exit_reason(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed, as it happens where memory runs out; try --max-memory"
    return f"its process ended with exit code {code}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = parse(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        models = check_arguments(args)
        pairs = find_pairs(args.data)
        outputs = [job for model in models for job in plan(pairs, args.output / "mattes" / model.label)]
        checked([*outputs, *(Job(pair, args.output / "sheets" / f"{pair.name}.png") for pair in pairs)])
        prepare_output(args.output)
    except ValueError as error:
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
