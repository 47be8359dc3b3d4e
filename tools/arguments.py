"""Options that commands share, and the types of their values."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.bands import Band

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "weights" / "MEMatte_T.safetensors"
MAX_WORKERS = 1024
_MAX_SIDE_PX = 100_000


def make_parser(description: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """Parser that keeps the line breaks of description and examples."""
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


def add_shipped_checkpoint(group: argparse._ActionsContainer) -> None:
    """Option of weights that bring their config along."""
    group.add_argument(
        "--checkpoint",
        type=Path,
        default=SHIPPED,
        metavar="FILE",
        help="weights that name their config (default: the shipped MEMatte-T)",
    )
