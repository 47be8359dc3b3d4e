"""Train a matting network from a config.

Exit codes: 0 done, or stopped by SIGTERM, SIGHUP or Ctrl-C after writing a checkpoint; 1 failed while training;
2 wrong arguments, data or weights.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """
examples:
  python train.py --config-file configs/MEMatte_S_topk0.25_win_global_long.py --num-gpus 2 \\
      train.init_checkpoint=checkpoints/ViTMatte_S.pth
  python train.py --config-file configs/MEMatte_S_topk0.25_win_global_long.py --num-gpus 2 --resume
  torchrun --nproc-per-node 2 train.py --config-file configs/ViTMatte_S_100ep.py

Relative data folders are looked up in the folder that the environment variable MATTING_DATA names.
A config is Python code, and is run: use only config files that you trust.
"""


MAX_PROCESSES = 64  # of one machine


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", type=Path, required=True, metavar="FILE", help="LazyConfig file, see configs/")
    add("--resume", action="store_true", help="go on from the last checkpoint in train.output_dir, if there is one")
    add(
        "--eval-only",
        action="store_true",
        help="only score train.init_checkpoint (with --resume: the last checkpoint) on train.validation_root",
    )
    add("overrides", nargs="*", metavar="key=value", help="settings to change, e.g. train.output_dir=output/mine")
    add = parser.add_argument_group("several processes (not needed under torchrun)").add_argument
    add(
        "--num-gpus",
        type=int,
        default=1,
        metavar="N",
        help="processes on this machine: one per GPU, or all on the CPU (default: %(default)s)",
    )
    add("--num-machines", type=int, default=1, metavar="N", help="machines (default: %(default)s)")
    add("--machine-rank", type=int, default=0, metavar="R", help="number of this machine (default: %(default)s)")
    add(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="tcp://HOST:PORT of machine 0; auto serves one machine (default: %(default)s)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns or exits with the exit code."""
    parser = build_parser()
    args = parser.parse_intermixed_args(argv)
    if args.num_gpus < 1 or not 0 <= args.machine_rank < args.num_machines:
        parser.error("--num-gpus must be at least 1, and --machine-rank from 0 to --num-machines - 1")
    if args.num_gpus > MAX_PROCESSES:
        parser.error(f"--num-gpus {args.num_gpus} processes on one machine are too many: at most {MAX_PROCESSES}")
    if args.num_machines > 1 and args.dist_url == "auto":
        parser.error("several machines need --dist-url tcp://HOST:PORT, the same on each")
    address = re.fullmatch(r"tcp://.+:(\d{1,5})", args.dist_url)
    if args.dist_url != "auto" and not (address and int(address[1]) < 2**16):
        parser.error(f"--dist-url {args.dist_url}: write tcp://HOST:PORT")
    try:
        from engine.training.command import Options, start  # imports torch: only after the arguments are understood

        start(Options(**vars(args)), under_torchrun="LOCAL_RANK" in os.environ)
    except KeyboardInterrupt:
        print("train.py: interrupted before the first step; nothing was changed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
