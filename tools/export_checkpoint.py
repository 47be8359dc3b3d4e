"""Strip a training checkpoint to a small, self-describing .safetensors file that inference.py takes.

Only the network stays: no teacher, no optimiser. Config, step, metrics, data and commit go into the file's metadata.
Exit codes: 0 written, 2 wrong arguments or an unusable checkpoint.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.messages import log_to_terminal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DTYPES = {"fp16": "float16", "fp32": "float32"}  # names in torch, which is imported after the arguments are parsed


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="model_*.pth of a training run")
    parser.add_argument("output", type=Path, help="the .safetensors file to write")
    parser.add_argument(
        "--dtype",
        choices=sorted(DTYPES),
        default="fp32",
        help="of the stored weights; fp16 halves the file (default: %(default)s)",
    )
    parser.add_argument(
        "--last-step",
        action="store_true",
        help="export the weights of the last step, where the run kept their moving average too (train.ema_decay)",
    )
    return parser


def student(state: "dict[str, Tensor]", dtype: "torch.dtype") -> "dict[str, Tensor]":
    """The network's own tensors, matrices and kernels as `dtype`.

    Vectors stay as they are: they weigh next to nothing, and variances of batch norms exceed what fp16 can hold.

    Raises:
        CheckpointError: a weight exceeds it too.
    """
    from modeling.checkpoints.weights import TEACHER, CheckpointError

    own = {name: value for name, value in state.items() if not name.startswith(TEACHER)}
    stored = {name: (value.to(dtype) if value.ndim > 1 else value).contiguous() for name, value in own.items()}
    for name, value in stored.items():
        if own[name].isfinite().all() and not value.isfinite().all():
            raise CheckpointError(f"{name} holds numbers too large for fp16; leave --dtype fp16 out")
    return stored


def metadata(path: Path, dtype: str) -> dict[str, str]:
    """Description of a checkpoint, each part as JSON; safetensors keeps strings only."""
    import torch

    whole = torch.load(path, map_location="cpu", weights_only=True)  # was read before, so it can be
    known = {"dtype": dtype, "step": whole["iteration"] + 1 if "iteration" in whole else None}
    known |= {name: whole.get("description", {}).get(name) for name in ("config", "metrics", "data", "commit")}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in known.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = build_parser().parse_args(argv)
    log_to_terminal()
    import torch
    from safetensors.torch import save

    from engine.training.checkpoint import write_atomically
    from modeling.checkpoints.weights import CheckpointError, read_state_dict

    try:
        if args.output.suffix != ".safetensors":
            raise ValueError(f"{args.output}: give a name that ends in .safetensors")
        if args.checkpoint.suffix == ".safetensors":
            raise CheckpointError(f"{args.checkpoint}: is no training checkpoint; give a model_*.pth of a run")
        tensors = student(read_state_dict(args.checkpoint, not args.last_step), getattr(torch, DTYPES[args.dtype]))
        content = save(tensors, metadata(args.checkpoint, args.dtype))
        write_atomically(args.output, lambda file: file.write(content))
    except (ValueError, OSError) as error:
        logging.error("%s", error)
        return 2
    print(f"{args.output}: {len(tensors)} tensors, {len(content) / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
