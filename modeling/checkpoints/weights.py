"""Strict loading of weights: places found, published names converted, mismatches listed."""

from pathlib import Path

import torch
from torch import Tensor

from ..base import MattingNetwork
from ..zoo import MODELS, TEACHER, fingerprint, identify
from .files import CheckpointError, one_line, read_file
from .hub import PREFIX, WEIGHTS, fetch
from .huggingface_vitmatte import THEIR_BLOCKS, our_name

_LISTED = 12  # names shown of each kind of mismatch
_NAME_LENGTH = 100  # of them
_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def weights_file(source: str | Path) -> Path:
    """Path of the named weights, downloaded into the hub's cache if needed.

    Args:
        source: a file, a folder with `model.safetensors`, or a repository of the Hugging Face hub as `hf:owner/name`.

    Raises:
        CheckpointError: the folder holds no weights, or the repository cannot be read.
    """
    if str(source).startswith(PREFIX):
        return fetch(str(source).removeprefix(PREFIX))
    path = Path(source)
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({one_line(error)})") from error
    if not is_folder:
        return path
    if not (path / WEIGHTS).is_file():
        raise CheckpointError(f"{path}: is a folder without {WEIGHTS}; name a checkpoint file in it")
    return path / WEIGHTS


def read_state_dict(path: str | Path, averaged: bool = True) -> dict[str, Tensor]:
    """Tensors of a checkpoint under our names, on the CPU.

    They are mapped from the file where its format allows it.

    Accepts `.safetensors` (also in a hub folder or repository, see `weights_file`), and `.pth` files that hold a state
    dict, bare or under `model` (or `state_dict`), with or without a common `module.` prefix, and the names of Hugging
    Face's `VitMatteForImageMatting`. Code in a pickle is never run. Where a training has kept a moving average of its
    weights (`ema`), it replaces those of the last step, unless `averaged` is False.

    Raises:
        CheckpointError: the file is missing, broken, not a checkpoint, or holds more, or other things, than tensors.
    """
    state = read_file(weights_file(path))
    average = state.get("ema") if averaged and isinstance(state, dict) else None
    for key in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds no state dict (expected tensors by name, bare or under 'model')")
    if isinstance(average, dict):
        state = state | average  # a frozen teacher stays
    state = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if odd := [name for name, value in state.items() if not _is_plain(value)]:
        raise CheckpointError(f"{path}: {len(odd)} tensors hold no plain numbers: {_shorten(odd)}; save as float32")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    if any(name.startswith(THEIR_BLOCKS) for name in state):
        state = {our_name(name): value for name, value in state.items()}
    return state


def load_weights(model: MattingNetwork, path: str | Path) -> None:
    """Load a checkpoint strictly, without a teacher that the model lacks.

    Raises:
        CheckpointError: naming the model that the weights belong to, or the missing, unexpected and misshapen tensors.
    """
    load_state(model, read_state_dict(path), path)


def load_state(model: MattingNetwork, state: dict[str, Tensor], path: str | Path) -> None:
    """Load tensors as `read_state_dict` returns them; see `load_weights`."""
    state = model.convert_state_dict(state)
    expected = model.state_dict()
    if not any(name.startswith(TEACHER) for name in expected):
        state = {name: value for name, value in state.items() if not name.startswith(TEACHER)}
    problems = mismatches(expected, state)
    if problems:
        name = identify(state)
        if name and fingerprint(state) != fingerprint(expected):
            raise CheckpointError(
                f"{path} does not fit {type(model).__name__} as configured: these are the weights of "
                f"{name.replace('_', '-', 1)}: use configs/{MODELS[name].configs[0]}.py"
            )
        raise CheckpointError(f"{path} does not fit {type(model).__name__} (wrong config?): {'; '.join(problems)}")
    model.load_state_dict(state)


def mismatches(expected: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """Differences of `found` from the expected names, shapes and types.

    Only where all of them do, the numbers themselves are looked at; those that are not finite, or not in the type of
    the network, are a problem.
    """
    misshapen = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    kinds = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "misshapen": misshapen,
        "of a wrong type": [
            f"{name} {found[name].dtype}"
            for name, value in expected.items()
            if name in found and (found[name].dtype in _FLOATING) != value.is_floating_point()
        ],
    }
    if not any(kinds.values()):
        kinds = {
            "not finite (damaged?)": [
                name for name, value in expected.items() if not found[name].to(value.dtype).isfinite().all()
            ]
        }
    return [f"{len(names)} {kind}: {_shorten(names)}" for kind, names in kinds.items() if names]


def _is_plain(value: Tensor) -> bool:
    """True for dense numbers of a usual type that the file stores.

    False for sparse, quantised or repeated values, and for tensors without data.
    """
    if value.layout != torch.strided or value.device.type != "cpu" or value.dtype not in (*_FLOATING, *_WHOLE):
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _shorten(names: list[str]) -> str:
    more = len(names) - _LISTED
    listed = ", ".join(one_line(name, _NAME_LENGTH) for name in names[:_LISTED])
    return listed + (f", ... and {more} more" if more > 0 else "")
