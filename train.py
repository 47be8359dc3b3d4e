"""Train a matting network from a config.

Exit codes: 0 done, or stopped by SIGTERM, SIGHUP or Ctrl-C after writing a checkpoint; 1 failed while training;
2 wrong arguments, data or weights.
"""

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.messages import OneLine, log_to_terminal

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

MAX_PROCESSES = 64  # of one machine
_LOST_PEER = re.compile("gloo|nccl|connection (closed|reset)|DataLoader worker", re.IGNORECASE)


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


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse and check the command line."""
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
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns or exits with the exit code."""
    args = parse(argv)
    try:
        from modeling.inference.memory import use_huge_pages  # heavy: only after the arguments are understood

        use_huge_pages()
        if "LOCAL_RANK" in os.environ or args.num_gpus * args.num_machines == 1:  # the first is set by torchrun
            work_guarded(args)
        else:
            work_in_processes(args)
    except KeyboardInterrupt:
        print("train.py: interrupted before the first step; nothing was changed", file=sys.stderr)
        return 1
    return 0


def work_in_processes(args: argparse.Namespace) -> None:
    """Work in several processes of this machine; exits unless all succeed."""
    from engine.training.processes import launch

    log_to_terminal()
    try:
        code = launch(work_guarded, (args,), args.num_gpus, args.num_machines, args.machine_rank, args.dist_url)
    except ConnectionError as error:
        logger.error("%s; --resume goes on from the last checkpoint, if any", error)
        code = 1
    if code:
        sys.exit(code)


def work_guarded(args: argparse.Namespace) -> None:
    """Work in this process; errors become a line and an exit code."""
    from data.files import reason
    from modeling.checkpoints.files import one_line

    log_to_terminal()
    try:
        work(args)
        return
    except (FloatingPointError, ValueError) as error:  # the first is a loss that is not finite
        logger.error("%s", error)
        code = 1 if isinstance(error, FloatingPointError) else 2
    except (ConnectionError, EOFError) as error:  # which of them a lost process raises depends on the moment
        code = _report_lost_process(one_line(error))
    except OSError as error:
        logger.error("%s cannot be read or written (%s)", error.filename or "a file", reason(error))
        code = 1
    except KeyboardInterrupt:  # during the steps, the trainer stops on its own
        logger.error("interrupted before the first step; nothing was changed")
        code = 1
    except Exception as error:  # most likely a fault of this program: its traceback goes into the log file
        if isinstance(error, RuntimeError) and _LOST_PEER.search(str(error)):
            code = _report_lost_process(one_line(error))
        else:
            logger.error("%s: %s", type(error).__name__, one_line(error), exc_info=error)
            logger.error("the run ends here; log.txt says where, and --resume goes on from the last checkpoint, if any")
            code = 1
    sys.exit(code)


def _report_lost_process(error: str) -> int:
    logger.error("a DataLoader worker or another process of the run was killed (%s)", error)
    logger.error("--resume goes on from the last checkpoint, if any")
    return 1


def work(args: argparse.Namespace) -> None:
    """Train or evaluate by the config, as one process of the run."""
    from omegaconf import OmegaConf

    from engine.build import load_config
    from engine.training.processes import check_environment, claim_device, join_group
    from engine.training.run_folder import check_run_folder
    from engine.training.settings import check_settings

    config = load_config(args.config_file, args.overrides)
    if not isinstance(OmegaConf.select(config, "train.output_dir", throw_on_missing=False), str):
        raise ValueError(f"{args.config_file}: these settings have no train.output_dir, where a run keeps its files")
    check_settings(config)
    check_environment()
    check_run_folder(Path(config.train.output_dir))
    from engine.training import session  # only now: wrong settings are answered at once
    from engine.training.manifest import NAME_KEY

    join_group(claim_device(config.train.device))
    _log_to(Path(config.train.output_dir))
    if args.eval_only:
        session.evaluate(config, args.resume)
    elif not session.train(config, config.get(NAME_KEY, args.config_file.stem), args.resume, args.overrides):
        logger.info("stopped after a checkpoint; the same command with --resume goes on from there")


def _log_to(output_dir: Path) -> None:
    """Log to the terminal and a file of the run.

    Of several processes, only the main one reports more than warnings.
    """
    from detectron2.utils import comm

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


if __name__ == "__main__":
    sys.exit(main())
