"""Shared parts of the commands: predictor, outputs, progress and exit codes.

Heavy libraries are imported inside the functions that use them, so that `--help` answers at once.
"""

import argparse
import contextlib
import functools
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.messages import open_standard_streams
from tools.arguments import SHIPPED

if TYPE_CHECKING:
    from engine.batch.folders import Report
    from engine.batch.outputs import Outputs
    from modeling.inference.predictor import Predictor

logger = logging.getLogger(__name__)

INTERRUPTED = 130
PROGRESS_SECONDS = 10.0  # between two lines where there is no terminal to draw a bar on
_MIB = 2**20

# Options without influence on a matte, or of which a record says more: the contents of the files, the kind and depth.
NOT_OF_THE_MATTE = frozenset(
    "config checkpoint data output_dir image trimap mask clip trimaps masks output num_gpus device max_memory json "
    "overwrite output_kind background suffix depth bit_depth premultiplied rate".split()
)

Main = Callable[[Sequence[str] | None], int]


def choose_weights(args: argparse.Namespace) -> tuple[Path, Path]:
    """Config and weights file; without either, those of the shipped model."""
    from engine.build import shipped_config
    from modeling.checkpoints.weights import weights_file

    if args.checkpoint is None and args.config is not None:
        raise ValueError("--config-dir needs --checkpoint-dir; leave out both for the shipped model")
    if args.checkpoint is None and not SHIPPED.is_file():
        raise ValueError(f"no --checkpoint-dir is given, and the shipped model {SHIPPED} is not there")
    checkpoint = weights_file(args.checkpoint or SHIPPED)
    return args.config or shipped_config(checkpoint), checkpoint


def origin(args: argparse.Namespace, weights: tuple[Path, Path]) -> dict[str, Any]:
    """Network, weights and options that may change a matte, compared on resuming."""
    from data.records import fingerprint_file
    from modeling.checkpoints.files import check_file

    config, checkpoint = weights
    check_file(checkpoint)
    options = {name: value for name, value in vars(args).items() if name not in NOT_OF_THE_MATTE}
    return {
        "config": config.stem,
        "config_file": fingerprint_file(config) if config.is_file() else None,
        "checkpoint": fingerprint_file(checkpoint),
        **{
            name: value if isinstance(value, bool | int | float | None) else str(value)
            for name, value in options.items()
        },
    }


def make_predictor(
    args: argparse.Namespace, weights: tuple[Path, Path], device: str | None = None, shared_by: int = 1
) -> "Predictor":
    """The predictor that the options of `add_model` and `add_compute` describe."""
    from engine.build import build_model
    from modeling.inference.memory import bound_caches, use_huge_pages
    from modeling.inference.predictor import Predictor

    use_huge_pages()
    bound_caches()
    config, checkpoint = weights
    if args.checkpoint is None:
        logger.info("no --checkpoint-dir: using the shipped model %s/%s", SHIPPED.parent.name, SHIPPED.name)
    sampling = [f"model.sample_strategy={args.sample_strategy}"] if args.sample_strategy else []
    return Predictor(
        build_model(config, [*args.overrides, *sampling]),
        checkpoint,
        device=device or args.device,
        dtype=args.dtype,
        max_tokens=args.max_tokens,
        max_memory=args.max_memory,
        tta=args.tta,
        working_size=args.working_size,
        shared_by=shared_by,
    )


def make_outputs(
    args: argparse.Namespace,
    kinds: Sequence[str],
    device: str | None = None,
    origin: dict[str, Any] | None = None,
) -> "Outputs":
    """The outputs that the options of `add_colours` describe.

    Raises:
        ValueError: the options do not fit each other.
    """
    from data.products.backgrounds import Background
    from engine.batch.outputs import Outputs
    from modeling.precision import choose_device

    return Outputs(
        kinds,
        suffix=f".{args.suffix}",
        depth=args.depth,
        bit_depth=getattr(args, "bit_depth", 8),
        premultiplied=args.premultiplied,
        background=Background.parse(args.background) if args.background else None,
        device=choose_device(device or args.device),
        origin=origin or {},
    )


@contextlib.contextmanager
def progress(total: int | None, unit: str) -> Iterator[Callable[[], object]]:
    """Progress callback: a bar on a terminal, regular log lines otherwise."""
    if sys.stderr.isatty():
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        with logging_redirect_tqdm(), tqdm(total=total, unit=unit) as bar:
            yield bar.update
        return
    done, over, start = 0, threading.Event(), time.perf_counter()

    def advance() -> None:
        nonlocal done
        done += 1

    def report() -> None:
        while not over.wait(PROGRESS_SECONDS):
            of_total = f" of {total}" if total else ""
            logger.info("%d%s %ss after %.0f s", done, of_total, unit, time.perf_counter() - start)

    thread = threading.Thread(target=report, name="progress", daemon=True)
    thread.start()
    try:
        yield advance
    finally:
        over.set()
        thread.join()


def finish(report: "Report", predictor: "Predictor", json_file: Path | None = None) -> int:
    """Print and optionally write the summary; returns the exit code.

    The file is JSON.
    """
    from engine.batch.folders import peak_memory

    say(f"{report.summary()}, peak memory {peak_memory(predictor.device)}")
    failures = [{"name": name, "reason": reason} for name, reason in report.failures]
    summary = {
        "done": report.done,
        "skipped": report.skipped,
        "failed": len(failures),
        "seconds": round(report.seconds, 3),
        "megapixels": report.pixels / 1e6,
        "tokens": report.tokens,
        "tokens_kept": report.tokens_kept,
        **memory_record(predictor),
        "failures": failures,
    }
    return report_json(json_file, summary, 1 if failures else 0)


def say(text: str) -> None:
    """Print a result; a closed pipe, as behind `head`, is no failure."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _ignore_stdout()


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record, whatever file names are in it."""
    from data.files import write_atomic

    write_atomic(path, f"{json.dumps(record, indent=1, allow_nan=False)}\n".encode())


def report_json(path: Path | None, summary: dict[str, Any], code: int) -> int:
    """Write the summary of --json; returns `code`, or 1 where that fails."""
    try:
        if path is not None:
            write_json(path, summary)
    except ValueError as error:
        logger.error("%s", error)
        return 1
    return code


def memory_record(predictor: "Predictor") -> dict[str, Any]:
    """Device and peak memory for a summary."""
    from modeling.inference.memory import peak

    return {"device": str(predictor.device), "peak_memory_mib": round(peak(predictor.device) / _MIB, 1)}


def command(main: Main) -> Main:
    """Decorator of `main(argv)`: Ctrl-C and closed streams become exit codes."""

    @functools.wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        open_standard_streams()
        logger.setLevel(logging.INFO)
        try:
            return main(argv)
        except KeyboardInterrupt:
            logger.error("interrupted; finished files are complete, the same command goes on from here")
            return INTERRUPTED
        except BrokenPipeError:
            return 1
        finally:
            try:
                sys.stdout.flush()
            except BrokenPipeError:
                _ignore_stdout()

    return guarded


def _ignore_stdout() -> None:
    """Redirect stdout to the null device, which hides closed pipes at exit."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor has nothing to report
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
