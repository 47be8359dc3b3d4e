"""What a run was made of, as plain data to be kept with a checkpoint."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf


def describe(node: Any) -> Any:
    """A config node as plain data: what is built by its dotted name, everything else as strings, numbers and lists."""
    if isinstance(node, DictConfig | ListConfig):
        node = OmegaConf.to_container(node, resolve=True)
    if isinstance(node, Mapping):
        return {str(key): describe(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [describe(value) for value in node]
    if isinstance(node, str | int | float | bool | None):
        return node
    return f"{node.__module__}.{node.__qualname__}" if hasattr(node, "__qualname__") else str(node)


def commit() -> str | None:
    """The commit of the code that runs, with "-dirty" where files differ from it; None outside a git clone."""
    here = str(Path(__file__).resolve().parent)
    command = ["git", "-C", here, "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"]  # no tag's name
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
