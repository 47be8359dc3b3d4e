"""Models from LazyConfig files: loading, overriding and building with errors that a user can act on."""

import builtins
import difflib
import inspect
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import LazyConfig, instantiate
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf
from torch import nn


class ConfigError(ValueError):
    """A config file or an override that cannot be used."""


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> DictConfig:
    """Load a LazyConfig file, which is Python code and is run, and apply overrides of the form key=value.

    Only keys that the config has, or that the class it configures there accepts, may be overridden.

    Raises:
        ConfigError: the file is missing or broken, or an override is unknown or malformed.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such config file; the published ones are in configs/")
    if path.suffix != ".py":
        raise ConfigError(f"{path}: a config is a Python file (.py)")
    plain_import = builtins.__import__
    try:
        config = LazyConfig.load(str(path))
    except Exception as error:  # the file is code, and may raise anything
        raise ConfigError(f"{path}: the config cannot be loaded ({_one_line(error)})") from error
    finally:
        builtins.__import__ = plain_import  # LazyConfig leaves its own in place where loading fails
    for override in overrides:
        _check_override(config, override)
        try:
            LazyConfig.apply_overrides(config, [override])
        except Exception as error:  # the grammar's own errors have many types
            raise ConfigError(f"override {override!r} cannot be applied ({_one_line(error)})") from error
    return config


def build_model(path: str | Path, overrides: Sequence[str] = ()) -> nn.Module:
    """Build the network that a config file describes, with fresh weights.

    Raises:
        ConfigError: as `load_config`; or the settings do not make a model.
    """
    config = load_config(path, overrides)
    if "model" not in config:
        raise ConfigError(f"{path}: defines no 'model'")
    try:
        return instantiate(config.model)
    except Exception as error:  # whatever a constructor makes of settings that it was not made for
        raise ConfigError(f"{path}: these settings do not make a model ({_one_line(error)})") from error


def _check_override(config: DictConfig, override: str) -> None:
    key, equals, _ = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r} is not of the form key=value, for example model.backbone.depth=12")
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    if isinstance(node, DictConfig) and leaf in _settings(node):
        return
    close = difflib.get_close_matches(key, _keys(config), n=1)
    raise ConfigError(f"unknown override {key!r}" + (f"; did you mean {close[0]!r}?" if close else ""))


def _settings(node: DictConfig) -> set[str]:
    """What may be set in a node: what it holds, and what the class that it configures accepts."""
    settings = {str(key) for key in node}
    if target := node.get("_target_"):
        settings |= set(inspect.signature(locate(target) if isinstance(target, str) else target).parameters)
    return settings


def _keys(node: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for name in sorted(_settings(node) - {"_target_"}):
        keys.append(prefix + name)
        child = node.get(name)
        if isinstance(child, DictConfig):
            keys += _keys(child, f"{prefix}{name}.")
    return keys


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
