"""Show the settings in which two configs, runs or checkpoints differ.

  python tools/config_diff.py configs/MEMatte_S_UHR395.py configs/MEMatte_S_realworld.py
  python tools/config_diff.py output/first output/second
  python tools/config_diff.py output/first/model_best.pth configs/MEMatte_T.py

Each is a config file (.py, .yaml), the output folder of a run, or a checkpoint of a run (.pth). One line per key:
its name, the first value, the second value.
Exit codes: 0 equal, 1 different, 2 wrong arguments or a file that cannot be read.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tools  # noqa: F401  (puts the repository on the path)

logger = logging.getLogger("config_diff")


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, metavar="A", help="config, run or checkpoint")
    parser.add_argument("second", type=Path, metavar="B", help="config, run or checkpoint")
    return parser


def read_settings(path: Path) -> dict[str, Any]:
    """Whole config of a config file, run or checkpoint, as plain data.

    Raises:
        ValueError: it holds none.
    """
    from engine.build import load_config
    from engine.training.manifest import CONFIG, NAME_KEY, describe
    from modeling.checkpoints.files import CheckpointError, read_pickle

    if path.suffix == ".pth":
        content = read_pickle(path)
        description = content.get("description") if isinstance(content, dict) else None
        settings = description.get("settings") if isinstance(description, dict) else None
        if not isinstance(settings, dict):
            raise CheckpointError(f"{path}: holds no config; checkpoints of this project's trainings do")
        return settings
    if path.is_dir() and not (path / CONFIG).is_file():
        raise ValueError(f"{path}: no output folder of a run, since it holds no {CONFIG}")
    settings = describe(load_config(path / CONFIG if path.is_dir() else path), resolve=False)
    settings.pop(NAME_KEY, None)
    return settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = build_parser().parse_args(argv)
    from engine.messages import escaped, log_to_terminal
    from engine.training.manifest import differences

    log_to_terminal()
    try:
        found = differences(*(read_settings(path) for path in (args.first, args.second)))
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 2
    for key, first, second in found:
        print(escaped(f"{key}: {first!r} -> {second!r}"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
