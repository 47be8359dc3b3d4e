"""File guards: allowed kinds and sizes, and one-line error messages."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

MAX_PIXELS = 500_000_000  # a header that declares more is taken for damage or an attack
MAX_BYTES = 8 * MAX_PIXELS  # four channels of 16 bits, uncompressed
_NOT_ON_DISK = ("/proc/", "/sys/")  # regular files by their mode, but reading one may block or have effects
_NO_OUTPUTS = ("/dev/", *_NOT_ON_DISK)
_MEMORY = "/dev/shm/"


class FileError(ValueError):
    """Unusable file or folder; the message names it and the reason."""


def reason(error: BaseException) -> str:
    """Cause of an error in one line, without path and error number."""
    text = getattr(error, "strerror", None) or getattr(error, "err", None) or str(error)
    return " ".join(str(text).split()) or type(error).__name__


def check_file(path: str | Path, max_bytes: float = MAX_BYTES) -> None:
    """Refuse pipes and devices, which may block for ever, and huge files."""
    try:
        _check_status(path, os.stat(path), max_bytes)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({reason(error)})") from error


def read_bytes(path: str | Path) -> bytes:
    """Read a regular file of bounded size."""
    check_file(path)
    try:
        # A pipe that took the file's place meanwhile is opened without waiting for a writer, and refused.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            _check_status(path, os.fstat(file.fileno()))
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({reason(error)})") from error
    if not data:
        raise FileError(f"{path}: is empty (0 bytes)")
    return data


def _check_status(path: str | Path, status: os.stat_result, max_bytes: float = MAX_BYTES) -> None:
    if not stat.S_ISREG(status.st_mode) or real_path(path).startswith(_NOT_ON_DISK):
        raise FileError(f"{path}: is a folder, a pipe or a device, not a file")
    if status.st_size > max_bytes:
        raise FileError(f"{path}: has {status.st_size / 10**9:.1f} GB; files of up to {max_bytes // 10**9} GB are read")


def real_path(path: str | Path) -> str:
    """Absolute path without links; a loop of links ends where it closes."""
    return os.path.realpath(path)


def is_special(path: str | Path) -> bool:
    """True for pipes, sockets and devices, also behind links.

    True as well for whatever lies or would lie among devices.
    """
    folder = os.path.join(real_path(os.path.dirname(path)), "")
    if folder.startswith(_NO_OUTPUTS) and not folder.startswith(_MEMORY):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_outputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path] = ()) -> None:
    """Refuse outputs that would replace inputs, devices or each other.

    Call it before work begins.

    Args:
        outputs: files that will be written.
        inputs: files that will be read; those in a folder are listed one by one.

    Raises:
        FileError: names the first output that cannot stay.
    """
    taken = {real_path(path): "an input" for path in inputs}
    for path in outputs:
        if is_special(path):
            raise FileError(f"{path}: is a pipe or a device; name a file for the output")
        place = real_path(path)
        if place in taken:
            raise FileError(f"{path}: the output would overwrite {taken[place]}; choose another place for it")
        taken[place] = "another output"
