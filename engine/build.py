"""Models from LazyConfig files, with errors that users can act on."""

import builtins
import difflib
import inspect
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from data.files import reason
from modeling.checkpoints.files import CheckpointError, one_line, read_metadata
from modeling.checkpoints.weights import read_state_dict, weights_file
from modeling.zoo import MODELS, identify

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
MAX_NUMBERS, MAX_TENSORS = 300_000_000, 20_000  # of a network; the largest here has 110 million in 1,000


logger = logging.getLogger(__name__)


class ConfigError(ValueError):
    """A config file or an override that cannot be used."""


def shipped_config(checkpoint: str | Path) -> Path:
    """The config of this repository that a checkpoint belongs to.

    It is the one that the metadata of a `.safetensors` file name (a name, which never becomes a path or code), unless
    another network here has just these tensors; or else the one whose network has them.

    Raises:
        CheckpointError: neither is known here.
    """
    known = {path.stem: path for path in CONFIGS.glob("*.py")}
    path = weights_file(checkpoint)
    named = read_metadata(path).get("config") if path.suffix.lower() == ".safetensors" else None
    model = identify(read_state_dict(path))
    configs = MODELS[model].configs if model else ()
    if named in known and (named in configs or not configs):
        return known[named]
    if configs:
        return known[configs[0]]
    if named is None:
        raise CheckpointError(
            f"{checkpoint}: its tensors belong to none of the configs here; give one with --config-dir"
        )
    raise CheckpointError(
        f"{checkpoint}: belongs to the config {one_line(named, 60)!r}, which is not among those of this repository "
        f"({', '.join(sorted(known))}); give one that you trust with --config-dir"
    )


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> DictConfig:
    """Load a config and apply overrides of the form key=value.

    A LazyConfig file (.py) is code, and is run. A file that a run has left (config.yaml) is data, but names the classes
    that are built from it.

    Only keys that the config has, or that the class it configures there accepts, may be overridden.

    Raises:
        ConfigError: the file is missing or broken, or an override is unknown or malformed.
    """
    path = Path(path)
    try:
        found = path.is_file()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({reason(error)})") from error
    if not found:
        raise ConfigError(f"{path}: no such config file; the published ones are in configs/")
    if path.suffix not in (".py", ".yaml"):
        raise ConfigError(f"{path}: a config is a Python file (.py), or the config.yaml of a run")
    plain_import = builtins.__import__
    try:
        config = LazyConfig.load(str(path)) if path.suffix == ".py" else _load_yaml(path)
    except Exception as error:  # the file is code, and may raise anything
        raise ConfigError(f"{path}: the config cannot be loaded ({_one_line(error)})") from error
    finally:
        builtins.__import__ = plain_import  # LazyConfig leaves its own in place where loading fails
    targets = _targets(config)
    for override in overrides:
        _check_override(config, override)
        try:
            LazyConfig.apply_overrides(config, [override])
        except Exception as error:  # the grammar's own errors have many types
            raise ConfigError(f"override {override!r} cannot be applied ({_one_line(error)})") from error
        if not _targets(config) <= targets:
            raise ConfigError(f"override {override!r} names code to run, which only a config file may")
    return config


def _load_yaml(path: Path) -> DictConfig:
    config = OmegaConf.load(path)  # refuses objects, unlike LazyConfig.load
    if not isinstance(config, DictConfig):
        raise ValueError("holds no settings by name")
    config._set_flag("allow_objects", True)  # as LazyConfig: the optimiser is given the model
    return config


def build_model(path: str | Path, overrides: Sequence[str] = ()) -> nn.Module:
    """Build the network that a config file describes, with fresh weights.

    Raises:
        ConfigError: as `load_config`; or the settings do not make a model.
    """
    config = load_config(path, overrides)
    logging.getLogger("detectron2.config.instantiate").setLevel(logging.CRITICAL)  # our error says the same
    if "model" not in config:
        raise ConfigError(f"{path}: defines no 'model'")
    try:
        _check_scale(config.model)
        model = instantiate(config.model)
        if not isinstance(model, nn.Module):
            raise ConfigError(f"{path}: 'model' is {one_line(model, 60)!r}, which is no network")
        return model
    except ConfigError:
        raise
    except Exception as error:  # whatever a constructor makes of settings that it was not made for
        raise ConfigError(f"{path}: these settings do not make a model ({_one_line(error)})") from error


class _Unfilled(TorchFunctionMode):
    """Leave tensors without memory as they are.

    Torch would go through their initialisation in Python, which is slow.
    """

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name, first = getattr(func, "__name__", ""), args[0] if args else kwargs.get("tensor")  # as in torch.nn.init
        in_place = name.endswith("_") and not name.endswith("__")
        if in_place and isinstance(first, Tensor) and first.is_meta:
            return first
        return func(*args, **kwargs)


def _check_scale(model: DictConfig) -> None:
    """Refuse networks too large for any machine, before allocating memory.

    Other errors are left to building it.
    """
    numbers = tensors = 0

    def count(module: nn.Module, name: str, value: Tensor | None) -> None:
        nonlocal numbers, tensors
        numbers, tensors = numbers + (0 if value is None else value.numel()), tensors + 1
        if numbers > MAX_NUMBERS or tensors > MAX_TENSORS:
            raise ConfigError(
                f"these settings make a network of more than {MAX_NUMBERS / 1e6:.0f} million numbers or {MAX_TENSORS} "
                "tensors: make it smaller"
            )

    hooks = register_module_parameter_registration_hook(count), register_module_buffer_registration_hook(count)
    try:
        with torch.device("meta"), _Unfilled():
            instantiate(model)
    except ConfigError:
        raise
    except Exception as error:
        logger.debug("the network was not measured: %s", _one_line(error))
    finally:
        for hook in hooks:
            hook.remove()


def _targets(node: Any) -> set[str]:
    """Dotted names of everything that a config builds or calls."""
    if isinstance(node, DictConfig):
        node = OmegaConf.to_container(node, resolve=False)
    if isinstance(node, dict):
        own = {str(node["_target_"])} if "_target_" in node else set()
        return own.union(*map(_targets, node.values()))
    return set().union(*map(_targets, node)) if isinstance(node, list) else set()


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
    """Settings of a node: its keys and its class's parameters."""
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
    return f"{type(error).__name__}: {one_line(error)}"
