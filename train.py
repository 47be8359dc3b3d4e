"""Train a matting network from a config.

Exit codes: 0 done, or stopped by SIGTERM or Ctrl-C after writing a checkpoint; 1 failed while training; 2 wrong
arguments, data or weights.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing import active_children
from pathlib import Path

import torch
from detectron2.engine import launch
from detectron2.utils import comm
from omegaconf import OmegaConf
from torch.multiprocessing import ProcessExitedException

from engine.build import load_config
from engine.messages import OneLine, log_to_terminal
from engine.training.session import evaluate, initialise_process_group, train
from engine.training.trainer import NonFiniteLoss
from modeling.checkpoints.files import one_line
from modeling.inference.memory import use_huge_pages

logger = logging.getLogger("train")

EXAMPLES = """
examples:
  python train.py --config-file configs/MEMatte_S_topk0.25_win_global_long.py --num-gpus 2 \\
      train.init_checkpoint=checkpoints/ViTMatte_S.pth
  python train.py --config-file configs/MEMatte_S_topk0.25_win_global_long.py --num-gpus 2 --resume
  torchrun --nproc-per-node 2 train.py --config-file configs/ViTMatte_S_100ep.py

Relative data folders are looked up in the folder that the environment variable MATTING_DATA names.
A config is Python code, and is run: use only config files that you trust.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", type=Path, required=True, metavar="FILE", help="LazyConfig file, see configs/")
    parser.add_argument("--resume", action="store_true",
                        help="go on from the last checkpoint in train.output_dir, if there is one")  # fmt: skip
    parser.add_argument("--eval-only", action="store_true",
                        help="only score train.init_checkpoint (with --resume: the last checkpoint) on "
                             "train.validation_root")  # fmt: skip
    group = parser.add_argument_group("several processes (under torchrun these are not needed)")
    group.add_argument("--num-gpus", type=int, default=1, metavar="N",
                       help="processes on this machine: one a GPU, or all on the CPU (default: 1)")  # fmt: skip
    group.add_argument("--num-machines", type=int, default=1, metavar="N", help="machines (default: %(default)s)")
    group.add_argument("--machine-rank", type=int, default=0, metavar="R",
                       help="number of this machine, from 0 (default: %(default)s)")  # fmt: skip
    group.add_argument("--dist-url", default="auto", metavar="URL",
                       help="tcp://HOST:PORT of machine 0; auto serves one machine (default: %(default)s)")  # fmt: skip
    parser.add_argument("overrides", nargs="*", metavar="key=value",
                        help="settings of the config to change, for example train.output_dir=output/mine")  # fmt: skip
    return parser


def run(args: argparse.Namespace) -> int:
    """Work of one process; returns the exit code."""
    config = load_config(args.config_file, args.overrides)
    if not isinstance(OmegaConf.select(config, "train.output_dir", throw_on_missing=False), str):
        raise ValueError(f"{args.config_file}: these settings have no train.output_dir, where a run keeps its files")
    _log_to(Path(config.train.output_dir))
    if args.eval_only:
        evaluate(config, args.resume)
        return 0
    if not train(config, args.config_file.stem, args.resume):
        logger.info("stopped after a checkpoint; the same command with --resume goes on from there")
    return 0


def _log_to(output_dir: Path) -> None:
    """Log to the terminal and to a file of the run; of several processes, only the main one reports what goes well."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if comm.is_main_process():
        output_dir.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(output_dir / "log.txt"))
    level = logging.INFO if comm.is_main_process() else logging.WARNING
    form = "%(asctime)s %(message)s", "%H:%M:%S"
    for handler, formatter in zip(handlers, (OneLine(*form), logging.Formatter(*form)), strict=False):
        handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=handlers, force=True)
    logging.captureWarnings(True)


def guarded(args: argparse.Namespace) -> None:
    """`run` with errors as one line and an exit code, in whichever process."""
    log_to_terminal()
    try:
        code = run(args)
    except NonFiniteLoss as error:
        logger.error("%s", error)
        code = 1
    except ValueError as error:
        logger.error("%s", error)
        code = 2
    except (ConnectionError, EOFError) as error:  # how the loss of a process shows depends on the moment
        logger.error("a DataLoader worker or another process of the run was killed (%s)", one_line(error))
        logger.error("--resume goes on from the last checkpoint, if any")
        code = 1
    except OSError as error:
        logger.error("%s cannot be read or written (%s)", error.filename or "a file", error.strerror or error)
        code = 1
    except Exception as error:  # a fault of ours, most likely: its traceback goes into the log file
        logger.error("%s: %s", type(error).__name__, one_line(error), exc_info=error)
        logger.error("the run ends here; log.txt says where, and --resume goes on from the last checkpoint, if any")
        code = 1
    if code:
        sys.exit(code)


def forward_signals() -> None:
    """Pass SIGTERM and Ctrl-C on to the processes that `launch` starts, and wait for them."""

    def forward(number: int, frame: object) -> None:
        for child in active_children():
            os.kill(child.pid, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = build_parser()
    args = parser.parse_intermixed_args(argv)
    if args.num_gpus < 1 or not 0 <= args.machine_rank < args.num_machines:
        parser.error("--num-gpus must be at least 1, and --machine-rank from 0 to --num-machines - 1")
    if args.num_machines > 1 and args.dist_url == "auto":
        parser.error("several machines need --dist-url tcp://HOST:PORT, the same on each")
    if torch.cuda.is_available() and args.num_gpus > torch.cuda.device_count():
        parser.error(f"--num-gpus {args.num_gpus}, but there are {torch.cuda.device_count()} GPUs")
    use_huge_pages()
    if "LOCAL_RANK" in os.environ:  # torchrun
        initialise_process_group("cuda" if torch.cuda.is_available() else "gloo")
        guarded(args)
        return 0
    if args.num_gpus * args.num_machines > 1:
        forward_signals()
    try:
        launch(guarded, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))
    except ProcessExitedException as error:
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
