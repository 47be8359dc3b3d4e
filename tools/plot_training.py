"""Plot losses, scores and kept tokens of training runs, side by side.

  python tools/plot_training.py output/MEMatte_T --output curves.png
  python tools/plot_training.py output/first output/second --output comparison.png

Exit codes: 0 written, 2 wrong arguments or a log that cannot be read.
"""

import argparse
import io
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import tools  # noqa: F401  (puts the repository on the path)
from data.files import FileError, read_bytes, write_atomic
from engine.messages import log_to_terminal
from tools import arguments, cli

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger("plot_training")

LOG = "metrics.json"
LOSSES = ("unknown_l1_loss", "loss_gradient_penalty", "loss_pha_laplacian", "distill_loss")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line and check its values."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="DIR", help=f"train.output_dir of runs, which hold {LOG}")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the picture (.png, .svg, .pdf)")
    parser.add_argument(
        "--smooth",
        type=int,
        default=20,
        metavar="N",
        help="logged points that a loss is averaged over (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if args.smooth < 1 or args.output.suffix not in (".png", ".svg", ".pdf"):
        parser.error("--smooth must be at least 1, and --output end in .png, .svg or .pdf")
    return args


def read_log(path: Path) -> list[dict]:
    """Logged rows by iteration; of repeated ones the later counts."""
    try:
        rows = [json.loads(line) for line in read_bytes(path).decode().splitlines() if line.strip()]
        return [row for _, row in sorted({row["iteration"]: row for row in rows}.items())]
    except FileError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(f"{path}: is no log of a training run ({type(error).__name__}: {error})") from error


def series(rows: Sequence[dict], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Iterations and values of one quantity."""
    points = [(row["iteration"], row[key]) for row in rows if key in row]
    return tuple(np.array(points, float).reshape(-1, 2).T)


def smoothed(values: np.ndarray, count: int) -> np.ndarray:
    """Mean of each value and up to `count` - 1 before it."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    index = np.arange(1, len(values) + 1)
    first = np.maximum(index - count, 0)
    return (sums[index] - sums[first]) / (index - first)


def draw(rows: Sequence[dict], smooth: int, title: str) -> "Figure":
    """Three panels: losses, scores, kept tokens."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    figure.suptitle(title)
    losses, scores, kept = figure.subplots(1, 3)
    for key in LOSSES:
        iterations, values = series(rows, key)
        if len(values):
            losses.plot(iterations, smoothed(values, smooth), label=key)
    for key in ("validation/sad", "validation/grad"):
        iterations, values = series(rows, key)
        if len(values):
            scores.plot(iterations, values, "o-", label=key.removeprefix("validation/").upper())
    shares = sorted({key for row in rows for key in row if key.startswith("keep/")})
    for key in shares:
        iterations, values = series(rows, key)
        kept.plot(iterations, smoothed(values, smooth), label=key.removeprefix("keep/"))
    _finish(((losses, "loss"), (scores, "validation"), (kept, "share of tokens kept")))
    return figure


def draw_comparison(logs: Mapping[str, Sequence[dict]], smooth: int) -> "Figure":
    """Three panels, one curve per run: loss, validation SAD, kept tokens.

    The loss is that of the unknown region.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    losses, scores, kept = figure.subplots(1, 3)
    for name, rows in logs.items():
        for panel, key, window in (
            (losses, LOSSES[0], smooth),
            (scores, "validation/sad", 1),
            (kept, "keep/total", smooth),
        ):
            iterations, values = series(rows, key)
            if len(values):
                panel.plot(iterations, smoothed(values, window), label=name)
    _finish(((losses, LOSSES[0]), (scores, "validation SAD"), (kept, "share of tokens kept")))
    return figure


def _finish(panels: Sequence[tuple["Axes", str]]) -> None:
    for panel, name in panels:
        panel.set(xlabel="iteration", ylabel=name)
        panel.grid(alpha=0.3)
        if panel.lines:
            panel.legend(fontsize="small")
        else:
            panel.text(0.5, 0.5, "not logged", ha="center", transform=panel.transAxes)
    panels[0][0].set_yscale("log")


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = parse(argv)
    log_to_terminal()
    try:
        logs = {}
        for run in args.runs:
            rows = read_log(run / LOG)
            if not rows:
                raise FileError(f"{run / LOG}: is empty")
            logs[run.name if run.name not in logs else str(run)] = rows
        args.output.parent.mkdir(parents=True, exist_ok=True)
        if len(logs) == 1:
            figure = draw(rows, args.smooth, args.runs[0].name)
        else:
            figure = draw_comparison(logs, args.smooth)
        content = io.BytesIO()
        figure.savefig(content, dpi=110, format=args.output.suffix[1:])
        write_atomic(args.output, content.getvalue())
    except (FileError, OSError) as error:
        logger.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
