"""Safe reading of weight files: no code runs, no tensor is copied.

Tensors come back mapped from the file wherever its format allows that, so that names, shapes and types can be judged
before any memory is taken for them.
"""

import mmap
import os
import pickle
import re
import struct
import zipfile
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from .pickles import Refused, Walk

MAX_BYTES = 16 * 10**9  # many times the largest training checkpoint of any network here
MAX_PICKLE_BYTES = 64 * 10**6  # of what a checkpoint holds beside tensors
MAX_HEADER_BYTES = 4 * 10**6  # of a safetensors file: some 20,000 tensors
MAX_LEGACY_BYTES = 2 * 10**9  # of the format of PyTorch before 1.6, which is searched as a whole
_NOT_ON_DISK = ("/proc/", "/sys/")
_PICKLE_START = b"\x80"
_ZIP_START = b"PK\x03\x04"
_LEGACY_PICKLES = 5  # magic number, protocol, machine, content, order of the storages; then their bytes


class CheckpointError(ValueError):
    """Unreadable checkpoint, or one of another model."""


def read_file(path: str | Path) -> object:
    """Tensors of a `.safetensors` file, or content of a PyTorch file.

    Raises:
        CheckpointError: the file is missing, broken, too large, or a pickle that needs more than tensors.
    """
    path = Path(path)
    check_file(path)
    return _read_safetensors(path) if path.suffix.lower() == ".safetensors" else read_pickle(path)


def read_metadata(path: str | Path) -> dict[str, str]:
    """Metadata of a `.safetensors` file; empty where it has none."""
    path = Path(path)
    check_file(path)
    _check_header(path)
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except Exception as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({one_line(error)})") from error


def read_pickle(path: str | Path, mapped: bool = True) -> object:
    """Content of a PyTorch file: tensors, plain containers, numbers and strings.

    Args:
        mapped: tensors stay in the file where they are until they are used; else they are read.
    """
    path = Path(path)
    check_file(path)
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
    """Printable first line of an error, or of a file's name."""
    lines = str(error).splitlines()
    line = lines[0] if lines and lines[0].strip() else type(error).__name__
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= limit else f"{line[:limit]}..."


def _refusal(path: Path, detail: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: refused, since it is damaged or asks to run code while loading ({detail}); only plain tensors are "
        "read: ask its author for a .safetensors file, or convert it as SECURITY.md says"
    )


def check_file(path: str | Path) -> None:
    """Refuse special and oversized files without opening them."""
    path = Path(path)
    try:
        if not path.is_file() or os.path.realpath(path).startswith(_NOT_ON_DISK):
            raise CheckpointError(f"{path}: no such checkpoint file")
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({one_line(error.strerror or error)})") from error
    if size > MAX_BYTES:
        raise CheckpointError(f"{path}: has {size / 1e9:.0f} GB; files of up to {MAX_BYTES / 1e9:.0f} GB are read")


def _check_content(path: Path) -> bool:
    """Refuse files that expand beyond their size; True for PyTorch's zip format."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(4)
        if start == _ZIP_START:
            for content in _pickles_in_archive(path):
                _walk(path, Walk(content, size), pickles=1)
            return True
        if not start.startswith(_PICKLE_START):
            raise CheckpointError(f"{path}: is no PyTorch checkpoint (judged by its first bytes)")
        if size > MAX_LEGACY_BYTES:
            raise CheckpointError(f"{path}: is large and in PyTorch's old format; save it again with a newer PyTorch")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _walk(path, Walk(content, size), pickles=_LEGACY_PICKLES)
    return False


def _pickles_in_archive(path: Path) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise CheckpointError(f"{path}: its parts are compressed, as PyTorch never does; save it again")
        pickles = [entry for entry in entries if entry.filename.lower().endswith(".pkl")]
        if sum(entry.file_size for entry in pickles) > MAX_PICKLE_BYTES:
            raise CheckpointError(f"{path}: holds more than {MAX_PICKLE_BYTES // 10**6} MB beside its tensors")
        return [archive.read(entry) for entry in pickles]


def _walk(path: Path, walk: Walk, pickles: int) -> None:
    try:
        for _ in range(pickles):
            walk.pickle()
    except Refused as error:
        raise _refusal(path, one_line(error)) from error
    except (IndexError, KeyError, TypeError, UnicodeDecodeError, struct.error) as error:
        raise CheckpointError(f"{path}: not a readable PyTorch checkpoint ({one_line(error)})") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    _check_header(path)
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except Exception as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({one_line(error)})") from error


def _check_header(path: Path) -> None:
    """Refuse oversized safetensors headers, which would be parsed as a whole."""
    with open(path, "rb") as file:
        start = file.read(8)
    if len(start) == 8 and (size := struct.unpack("<Q", start)[0]) > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path}: not a readable safetensors file (names and metadata of {size / 1e6:.0f} MB; up to "
            f"{MAX_HEADER_BYTES // 10**6} MB are read)"
        )
