"""Manifest of a run: plain data to identify and repeat it.

Checkpoints keep it too.
"""

import json
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from detectron2.utils import comm
from omegaconf import DictConfig, ListConfig, OmegaConf

from engine.training.checkpoint import write_atomically

MANIFEST, CONFIG = "manifest.json", "config.yaml"
NAME_KEY = "config_name"  # in config.yaml: the config that it was made from
_PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "timm", "detectron2", "fvcore", "omegaconf")


def describe(node: Any, resolve: bool = True) -> Any:
    """Plain data of a config node.

    Dotted names for what is built; strings, numbers and lists for the rest.
    """
    if isinstance(node, DictConfig | ListConfig):
        node = OmegaConf.to_container(node, resolve=resolve)
    if isinstance(node, Mapping):
        return {str(key): describe(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [describe(value) for value in node]
    if isinstance(node, str | int | float | bool | None):
        return node
    return f"{node.__module__}.{node.__qualname__}" if hasattr(node, "__qualname__") else str(node)


def commit() -> str | None:
    """Commit of the running code, "-dirty" if changed; None outside git."""
    here = str(Path(__file__).resolve().parent)
    command = ["git", "-C", here, "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"]  # no tag's name
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def make_manifest(config: DictConfig, name: str, overrides: Sequence[str], device: torch.device) -> dict[str, Any]:
    """Describe a run.

    Args:
        config: with its overrides applied.
        name: of the config file.
        overrides: as given on the command line.
        device: of this process.

    Returns:
        plain data, to be written as JSON and into every checkpoint. `settings` is the whole config; `files`, the roots,
        counts and hashes of the training files, is still empty.
    """
    return {
        "config": name,
        "settings": describe(config, resolve=False),
        "overrides": list(overrides),
        "command": shlex.join(sys.argv),
        "commit": commit(),
        "versions": _versions(),
        "device": _device_name(device),
        "processes": comm.get_world_size(),
        "threads": torch.get_num_threads(),
        "seed": config.train.seed,
        "data": describe(config.dataloader.train),
        "files": [],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "plan": {},
        "seconds": {},
        "metrics": {},
        "earlier": [],
    }


def continue_manifest(manifest: dict[str, Any], before: Mapping[str, Any], iteration: int) -> None:
    """Take over times, scores and earlier parts from a checkpoint's manifest."""
    for name, seconds in before.get("seconds", {}).items():
        manifest["seconds"][name] = manifest["seconds"].get(name, 0.0) + seconds
    manifest["metrics"], manifest["plan"] = before.get("metrics", {}), before.get("plan", {})
    part = {
        key: before.get(key) for key in ("started", "command", "overrides", "commit", "device", "processes", "files")
    }
    manifest["earlier"] = [*before.get("earlier", []), {"until_iteration": iteration, **part}]


def write_manifest(manifest: Mapping[str, Any], folder: Path) -> None:
    """Write `manifest.json`, and its settings as `config.yaml`, which `train.py --config-file` takes."""
    content = json.dumps(manifest, indent=2).encode()
    write_atomically(folder / MANIFEST, lambda file: file.write(content))
    settings = OmegaConf.create({NAME_KEY: manifest["config"], **manifest["settings"]})
    text = OmegaConf.to_yaml(settings).encode()
    write_atomically(folder / CONFIG, lambda file: file.write(text))


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted key, references resolved; empty groups are values."""
    plain = OmegaConf.to_container(OmegaConf.create(dict(settings)), resolve=True)
    found: dict[str, Any] = {}

    def collect(node: Any, prefix: str) -> None:
        children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in children:
            collect(value, f"{prefix}.{key}" if prefix else str(key))
        if not isinstance(node, dict | list) or not node:
            found[prefix] = node

    collect(plain, "")
    return found


ABSENT = "(absent)"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Differing settings as (key, old, new), `ABSENT` for missing ones."""
    left, right = flat(old), flat(new)
    keys = [*left, *(key for key in right if key not in left)]
    pairs = [(key, left.get(key, ABSENT), right.get(key, ABSENT)) for key in keys]
    return [(key, a, b) for key, a, b in pairs if a != b]


class PhaseClock:
    """Wall time per phase of a run, across resumed runs.

    Added up in `seconds`; phases do not nest.
    """

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to the phase."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - started)

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if torch.version.cuda is not None:
        found |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    return found


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.processor() or platform.machine()})"
