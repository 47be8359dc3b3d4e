"""Reading weights safely and strictly: published layouts renamed to ours, clear lists of what does not fit."""

import pickle
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

TEACHER = "teacher_backbone."
_LISTED = 12  # names shown of each kind of mismatch

_FROM_TRANSFORMERS = (
    (re.compile(r"^backbone\.embeddings\.position_embeddings$"), "backbone.pos_embed"),
    (re.compile(r"^backbone\.embeddings\.projection\."), "backbone.patch_embed.proj."),
    (re.compile(r"^backbone\.encoder\.layer\.(\d+)\.attention\."), r"backbone.blocks.\1.attn."),
    (re.compile(r"^backbone\.encoder\.layer\.(\d+)\."), r"backbone.blocks.\1."),
    (re.compile(r"^decoder\.convstream\.convs\.(\d+)\.batch_norm\."), r"decoder.convstream.convs.\1.bn."),
    (re.compile(r"^decoder\.fusion_blocks\.(\d+)\.conv\.batch_norm\."), r"decoder.fusion_blks.\1.conv.bn."),
    (re.compile(r"^decoder\.fusion_blocks\."), "decoder.fusion_blks."),
)


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not belong to the model."""


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint under our names, on the CPU.

    Accepts `.safetensors`, and `.pth` files that hold a state dict, bare or under `model` (or `state_dict`), with or
    without a common `module.` prefix, and the names of Hugging Face's `VitMatteForImageMatting`. Code in a pickle is
    never run.

    Raises:
        CheckpointError: the file is missing, broken, not a checkpoint, or a pickle that needs more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for key in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds no state dict (expected tensors by name, bare or under 'model')")
    state = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return {our_name(name): value for name, value in state.items()}


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a checkpoint into `model`, strictly; a teacher in the file is ignored where the model has none.

    Raises:
        CheckpointError: listing the missing, unexpected and misshapen names.
    """
    state = read_state_dict(path)
    if hasattr(model, "convert_state_dict"):
        state = model.convert_state_dict(state)
    expected = model.state_dict()
    if not any(name.startswith(TEACHER) for name in expected):
        state = {name: value for name, value in state.items() if not name.startswith(TEACHER)}
    problems = mismatches(expected, state)
    if problems:
        raise CheckpointError(f"{path} does not fit {type(model).__name__} (wrong config?): {'; '.join(problems)}")
    model.load_state_dict(state)


def mismatches(expected: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """Describe how the names and shapes of `found` differ from those expected; empty where they agree."""
    misshapen = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    kinds = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "misshapen": misshapen,
    }
    return [f"{len(names)} {kind}: {_shorten(names)}" for kind, names in kinds.items() if names]


def _shorten(names: list[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f", ... and {more} more" if more > 0 else "")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        wanted = re.search(r"GLOBAL (\S+)|Unsupported (?:class|global|operand)[^\n]*", str(error))
        detail = wanted.group(0) if wanted else reason
        raise CheckpointError(
            f"{path}: refused, since it is damaged or asks to run code while loading ({detail}); "
            "only plain tensors are read: ask its author for a .safetensors file"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: not a readable PyTorch checkpoint ({reason})") from error


def our_name(name: str) -> str:
    """Our name of a tensor that Hugging Face's `VitMatteForImageMatting` calls `name`; others stay as they are."""
    for pattern, replacement in _FROM_TRANSFORMERS:
        name = pattern.sub(replacement, name)
    return name
