"""Shared parts of the commands: options, predictor, outputs, progress and exit codes.

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

if TYPE_CHECKING:
    from data.bands import Band
    from engine.batch.folders import Report
    from engine.batch.outputs import Outputs
    from modeling.inference.predictor import Predictor

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "weights" / "MEMatte_T.safetensors"
INTERRUPTED = 130
PROGRESS_SECONDS = 10.0  # between two lines where there is no terminal to draw a bar on
MAX_WORKERS = 1024
_MAX_SIDE_PX = 100_000
_MIB = 2**20

# Options without influence on a matte, or of which a record says more: the contents of the files, the kind and depth.
NOT_OF_THE_MATTE = frozenset(
    "config checkpoint data output_dir image trimap mask clip trimaps masks output num_gpus device max_memory json "
    "overwrite output_kind background suffix depth bit_depth premultiplied rate".split()
)

Main = Callable[[Sequence[str] | None], int]


def make_parser(description: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """A parser that keeps the line breaks of description and examples."""
    return argparse.ArgumentParser(
        description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_model(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Options of network and weights; the group takes those of `add_compute` too."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--config-dir",
        "--config",
        dest="config",
        type=Path,
        metavar="FILE",
        help="LazyConfig file (Python code that is run), see configs/ (default: the file there that the checkpoint "
        "belongs to, by its metadata or the names and shapes of its tensors)",
    )
    group.add_argument(
        "--checkpoint-dir",
        "--checkpoint",
        dest="checkpoint",
        type=Path,
        metavar="FILE",
        help="its weights: .pth, .safetensors, a folder with model.safetensors, or hf:owner/name (default: the shipped "
        "MEMatte-T; docs/models.md lists others)",
    )
    group.add_argument(
        "--sample-strategy",
        metavar="NAME",
        help="DiffMatte: sampler and number of steps, for example ddim10, ddim1, ddpm20 (default: the config's, "
        "ddim10)",
    )
    group.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings of the config to change, for example model.backbone.window_size=14",
    )
    return group


def add_compute(group: argparse._ActionsContainer) -> None:
    """Options of a `Predictor`: device, precision, memory and working size."""
    group.add_argument(
        "--max-number-token",
        "--max-tokens",
        dest="max_tokens",
        type=int,
        default=18_500,
        metavar="N",
        help="most tokens (16 x 16 pixels each) of an image that a routed block sends to global attention; lower is "
        "faster (default: %(default)s)",
    )
    group.add_argument(
        "--max-memory",
        type=lambda text: "auto" if text.lower() == "auto" else text,
        metavar="SIZE",
        help="memory that the process may use, 4GB for example (resident; on CUDA: allocated), or auto for all that "
        "is free; works in smaller pieces, then lowers the token cap (default: no bound)",
    )
    group.add_argument(
        "--working-size",
        default="auto",
        metavar="auto|full|PX",
        help="longer side to which the surroundings of the unknown region are reduced for the network; auto: as the "
        "weights were trained, where that is known, or more where detail would be lost; else full (default: "
        "%(default)s)",
    )
    add_device(group)
    group.add_argument(
        "--dtype",
        default="auto",
        choices=["auto", "fp32", "bf16", "fp16"],
        help="precision; auto is fp32, fp16 needs a GPU (default: %(default)s)",
    )
    group.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: the mean of eight passes, over four rotations and their mirror images; eight "
        "times slower, often a little more accurate",
    )


def add_band(group: argparse._ActionsContainer) -> None:
    """Options of the unknown band around mask edges, for `band`."""
    group.add_argument(
        "--band",
        metavar="auto|WIDTH",
        help="width of the unknown band around the edge of a mask: pixels (12), a share of the object's size (2.5%%), "
        "or auto, narrow along hard edges and wide in hair (default: auto)",
    )
    group.add_argument("--inner", metavar="auto|WIDTH", help="the same for its part inside the object")
    group.add_argument("--outer", metavar="auto|WIDTH", help="the same for its part outside the object")


def band(args: argparse.Namespace) -> "Band":
    """Band by the options of `add_band`.

    Raises ValueError where they are no widths.
    """
    from data.bands import Band

    return Band.parse(args.band, args.inner, args.outer)


def add_device(group: argparse._ActionsContainer) -> None:
    """Option of the device."""
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")


def add_colours(group: argparse._ActionsContainer) -> None:
    """Options of the files that hold colours."""
    group.add_argument(
        "--background",
        metavar="COLOUR|FILE|DIR",
        help="background of composites: a name or #rrggbb, a picture, or a folder of them",
    )
    group.add_argument(
        "--format",
        dest="suffix",
        choices=["png", "tiff", "exr"],
        default="png",
        help="of cut-outs, foregrounds and composites; exr is linear light (default: %(default)s)",
    )
    group.add_argument(
        "--depth",
        choices=["8", "16", "half", "float"],
        help="of these files: 8 or 16 bits for png and tiff, half or float for exr (default: the smaller)",
    )
    group.add_argument(
        "--premultiplied",
        action="store_true",
        help="multiply the colours of cut-outs by alpha (default: straight colours)",
    )


def add_bit_depth(group: argparse._ActionsContainer) -> None:
    """Depth of the alphas."""
    group.add_argument(
        "--bit-depth",
        type=int,
        default=8,
        choices=[8, 16],
        help="bits per pixel of the PNG alphas (default: %(default)s)",
    )


def add_json(group: argparse._ActionsContainer) -> None:
    """Option of the JSON summary."""
    group.add_argument("--json", type=Path, metavar="FILE", help="also write the summary, failures included, as JSON")


def add_workers(group: argparse._ActionsContainer) -> None:
    """Option of the number of processes."""
    group.add_argument("--workers", type=workers, default=cores(), help="processes (default: all %(default)s cores)")


def comma_separated(text: str) -> list[str]:
    """Type of an option with several names."""
    return text.split(",")


def size(text: str) -> tuple[int, int]:
    """Type of a size option: (width, height) from "4872x6017" or "2048" (a square)."""
    width, cross, height = text.lower().partition("x")
    sides = [width, height if cross else width]
    if not all(side.isascii() and side.isdigit() and 0 < int(side) <= _MAX_SIDE_PX for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write WIDTHxHEIGHT in pixels, or the side of a square")
    return int(sides[0]), int(sides[1])


def workers(text: str) -> int:
    """Type of an option with a number of processes."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_WORKERS):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes: give at least 1, at most {MAX_WORKERS}")
    return int(text)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_weights(args: argparse.Namespace) -> tuple[Path, Path]:
    """Config and checkpoint; without either, those of the shipped model."""
    from engine.build import shipped_config

    if args.checkpoint is None and args.config is not None:
        raise ValueError("--config-dir needs --checkpoint-dir; leave out both for the shipped model")
    if args.checkpoint is None and not SHIPPED.is_file():
        raise ValueError(f"no --checkpoint-dir is given, and the shipped model {SHIPPED} is not there")
    checkpoint = args.checkpoint or SHIPPED
    return args.config or shipped_config(checkpoint), checkpoint


def origin(args: argparse.Namespace, weights: tuple[Path, Path]) -> dict[str, Any]:
    """Network, weights and options that may change a matte, compared on resuming."""
    from data.records import fingerprint_file
    from modeling.checkpoints.files import check_file
    from modeling.checkpoints.hub import weights_file

    config, checkpoint = weights[0], weights_file(weights[1])
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
    from modeling.inference.predictor import choose_device

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
