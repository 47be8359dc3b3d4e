"""Configs as plain data, to be kept with a checkpoint."""

from collections.abc import Mapping
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
