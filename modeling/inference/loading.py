"""Predictors by model name or location of the weights."""

import re
from pathlib import Path
from typing import Any

from ..checkpoints.files import CheckpointError
from ..checkpoints.hub import PREFIX
from ..checkpoints.weights import read_state_dict, weights_file
from ..zoo import MODELS, build, find, identify
from .predictor import Predictor

SHIPPED = "MEMatte_T"  # the model whose weights are part of the package
_PACKAGE = Path(__file__).resolve().parents[1]
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")


def load(model: str | Path, weights: str | Path | None = None, **options: Any) -> Predictor:
    """Predictor by model name or by its weights.

    Args:
        model: a name of `mematte.MODELS`; or, without `weights`, a place of weights, whose model is found by the names
            and shapes of its tensors.
        weights: a `.pth` or `.safetensors` file, a folder with `model.safetensors`, or a repository of the Hugging Face
            hub ("owner/name", needs huggingface_hub). May be left out for MEMatte_T, whose weights are included.
        options: of `Predictor`, for example device="cpu", dtype="bf16", max_memory="4GB".

    Raises:
        ValueError: the model is not known, or the weights cannot be read or do not fit it.
    """
    if weights is None and _is_place(str(model)):
        name, weights = None, _place(str(model))
    else:
        name = find(str(model))
        weights = _shipped(name) if weights is None else _place(str(weights))
    path = weights_file(weights)
    name = name or identify(read_state_dict(path))
    if name is None:
        raise CheckpointError(
            f"{weights}: its tensors fit none of {', '.join(MODELS)}; build the network and load it by "
            "Predictor(network, weights)"
        )
    return Predictor(build(name), path, **options)


def _is_place(text: str) -> bool:
    """True if the text is no model name but can name weights."""
    try:
        find(text)
    except ValueError:
        return "/" in text or text.startswith(PREFIX) or Path(text).suffix.lower() in _SUFFIXES or Path(text).exists()
    return False


def _place(text: str) -> str:
    """`text`, prefixed as a repository if it looks like one.

    Files and folders on this machine come first.
    """
    path = Path(text)
    is_path = not _REPOSITORY.fullmatch(text) or path.suffix.lower() in _SUFFIXES or path.exists()
    return text if is_path else PREFIX + text


def _shipped(name: str) -> str:
    if name != SHIPPED:
        raise ValueError(f"{name}: only the weights of {SHIPPED} are included; name a file: load({name!r}, FILE)")
    for folder in (_PACKAGE / "weights", _PACKAGE.parent / "weights"):  # installed; in the repository
        if (folder / f"{name}.safetensors").is_file():
            return str(folder / f"{name}.safetensors")
    raise ValueError(f"the weights of {name} are missing from this installation; install it again, or name a file")
