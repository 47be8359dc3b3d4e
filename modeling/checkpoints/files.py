"""Reading files of weights that a stranger may have made: nothing in them runs, and nothing is copied into memory yet.

Tensors come back mapped from the file wherever its format allows that, so that names, shapes and types can be judged
before any memory is taken for them.
"""

import mmap
import pickle
import re
import zipfile
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

MAX_BYTES = 16 * 10**9  # many times the largest training checkpoint of any network here
MAX_LEGACY_BYTES = 2 * 10**9  # of the format of PyTorch before 1.6, which is searched as a whole
_PICKLE_START = b"\x80"
_ZIP_START = b"PK\x03\x04"
_ALLOCATES = b"\nbytearray\n"  # the one thing a weights-only pickle may call that takes as much memory as it likes


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not belong to the model."""


def read_file(path: str | Path) -> object:
    """What a checkpoint holds, by its suffix: the tensors of a `.safetensors` file, else the content of a pickle.

    Raises:
        CheckpointError: the file is missing, broken, too large, or a pickle that needs more than tensors.
    """
    path = Path(path)
    _check_size(path)
    return _read_safetensors(path) if path.suffix.lower() == ".safetensors" else read_pickle(path)


def read_metadata(path: str | Path) -> dict[str, str]:
    """What a `.safetensors` file says about itself; empty where it says nothing."""
    path = Path(path)
    _check_size(path)
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except Exception as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({one_line(error)})") from error


def read_pickle(path: str | Path, mapped: bool = True) -> object:
    """The content of a PyTorch file that holds tensors and plain containers, numbers and strings only.

    Args:
        mapped: tensors stay in the file where they are until they are used; else they are read.
    """
    path = Path(path)
    _check_size(path)
    try:
        zipped = _check_content(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped and mapped)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)|Unsupported (?:class|global|operand)[^\n]*", str(error))
        raise _refusal(path, one_line(wanted.group(0) if wanted else error)) from error
    except Exception as error:  # what damage makes of a pickle is beyond listing
        raise CheckpointError(f"{path}: not a readable PyTorch checkpoint ({one_line(error)})") from error


def one_line(error: object, limit: int = 200) -> str:
    """The first line of an error, or a name out of a file, as a terminal can show it."""
    lines = str(error).splitlines()
    line = lines[0] if lines and lines[0].strip() else type(error).__name__
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= limit else f"{line[:limit]}..."


def _refusal(path: Path, detail: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: refused, since it is damaged or asks to run code while loading ({detail}); only plain tensors are "
        "read: ask its author for a .safetensors file, or convert it as SECURITY.md says"
    )


def _check_size(path: Path) -> None:
    try:
        if not path.is_file():
            raise CheckpointError(f"{path}: no such checkpoint file")
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    if size > MAX_BYTES:
        raise CheckpointError(f"{path}: has {size / 1e9:.0f} GB; files of up to {MAX_BYTES / 1e9:.0f} GB are read")


def _check_content(path: Path) -> bool:
    """Refuse files that take more memory than they have bytes; True if this one is in PyTorch's zip format."""
    with open(path, "rb") as file:
        start = file.read(4)
        if start == _ZIP_START:
            _check_pickle(path, _pickle_in_archive(path))
            return True
        if not start.startswith(_PICKLE_START):
            raise CheckpointError(f"{path}: is no PyTorch checkpoint (judged by its first bytes)")
        if path.stat().st_size > MAX_LEGACY_BYTES:
            raise CheckpointError(f"{path}: is large and in PyTorch's old format; save it again with a newer PyTorch")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _check_pickle(path, content)
    return False


def _pickle_in_archive(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise CheckpointError(f"{path}: its parts are compressed, as PyTorch never does; save it again")
        return b"".join(archive.read(entry) for entry in entries if entry.filename.endswith(".pkl"))


def _check_pickle(path: Path, content: bytes | mmap.mmap) -> None:
    if content.find(_ALLOCATES) >= 0:
        raise _refusal(path, "bytearray")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except Exception as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({one_line(error)})") from error
