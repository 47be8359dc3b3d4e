"""One process of `train.py`: logging, one-line errors and exit code."""

import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.utils import comm
from omegaconf import OmegaConf

from data.files import reason
from engine.build import load_config
from engine.messages import OneLine, log_to_terminal
from engine.training.processes import check_environment, claim_device, join_group, launch
from engine.training.run_folder import check_run_folder
from engine.training.settings import check_settings
from modeling.checkpoints.files import one_line
from modeling.inference.memory import use_huge_pages

logger = logging.getLogger("train")

_LOST_PEER = re.compile("gloo|nccl|connection (closed|reset)|DataLoader worker", re.IGNORECASE)


@dataclass(frozen=True)
class Options:
    """Options of the command line, under their names there."""

    config_file: Path
    overrides: Sequence[str] = ()
    resume: bool = False
    eval_only: bool = False
    num_gpus: int = 1
    num_machines: int = 1
    machine_rank: int = 0
    dist_url: str = "auto"


def start(args: Options, under_torchrun: bool) -> None:
    """Train in one or several processes; exits unless all succeed."""
    use_huge_pages()
    processes = args.num_gpus * args.num_machines
    if under_torchrun or processes == 1:
        guarded(args)
        return
    log_to_terminal()
    try:
        code = launch(guarded, (args,), args.num_gpus, args.num_machines, args.machine_rank, args.dist_url)
    except ConnectionError as error:
        logger.error("%s; --resume goes on from the last checkpoint, if any", error)
        code = 1
    if code:
        sys.exit(code)


def guarded(args: Options) -> None:
    """Run one process's work; errors become a line and an exit code."""
    log_to_terminal()
    try:
        _work(args)
        return
    except (FloatingPointError, ValueError) as error:  # the first is a loss that is not finite
        logger.error("%s", error)
        code = 1 if isinstance(error, FloatingPointError) else 2
    except (ConnectionError, EOFError) as error:  # which of them a lost process raises depends on the moment
        code = _report_lost_process(error)
    except OSError as error:
        logger.error("%s cannot be read or written (%s)", error.filename or "a file", reason(error))
        code = 1
    except KeyboardInterrupt:  # during the steps, the trainer stops on its own
        logger.error("interrupted before the first step; nothing was changed")
        code = 1
    except Exception as error:  # most likely a fault of this program: its traceback goes into the log file
        if isinstance(error, RuntimeError) and _LOST_PEER.search(str(error)):
            code = _report_lost_process(error)
        else:
            logger.error("%s: %s", type(error).__name__, one_line(error), exc_info=error)
            logger.error("the run ends here; log.txt says where, and --resume goes on from the last checkpoint, if any")
            code = 1
    sys.exit(code)


def _report_lost_process(error: Exception) -> int:
    logger.error("a DataLoader worker or another process of the run was killed (%s)", one_line(error))
    logger.error("--resume goes on from the last checkpoint, if any")
    return 1


def _work(args: Options) -> None:
    config = load_config(args.config_file, args.overrides)
    if not isinstance(OmegaConf.select(config, "train.output_dir", throw_on_missing=False), str):
        raise ValueError(f"{args.config_file}: these settings have no train.output_dir, where a run keeps its files")
    check_settings(config)
    check_environment()
    check_run_folder(Path(config.train.output_dir))
    # Imported here: wrong settings are answered at once, and a parent process that only waits does without.
    from engine.training.manifest import NAME_KEY
    from engine.training.session import evaluate, train

    join_group(claim_device(config.train.device))
    _log_to(Path(config.train.output_dir))
    if args.eval_only:
        evaluate(config, args.resume)
    elif not train(config, config.get(NAME_KEY, args.config_file.stem), args.resume, args.overrides):
        logger.info("stopped after a checkpoint; the same command with --resume goes on from there")


def _log_to(output_dir: Path) -> None:
    """Log to the terminal and a file of the run.

    Of several processes, only the main one reports more than warnings.
    """
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
