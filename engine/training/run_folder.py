"""Output folder of a run: exclusive use, and the checkpoint to resume."""

import fcntl
import logging
import math
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.files import check_file, reason
from modeling.checkpoints.files import CheckpointError, one_line

logger = logging.getLogger(__name__)

POINTER = "last_checkpoint"
LOCK = ".lock"
FINAL = "model_final.pth"
_NUMBERED = re.compile(r"model_(\d+)\.pth")


_held: set[int] = set()  # descriptors of locks, which processes forked from this one must not keep


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Exclusive use of `folder` for the block, or until the process ends.

    Raises:
        ValueError: another training holds it.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    _held.add(descriptor)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ValueError(
            f"{folder}: another training writes there; wait for it to end, or choose another train.output_dir"
        ) from error
    except OSError as error:  # a file system without locks
        logger.warning("%s: cannot be locked (%s); start no second training there", folder, reason(error))


def _let_go() -> None:
    """Close the locks in a forked process.

    A loading worker may outlive a run that was killed.
    """
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def check_run_folder(folder: Path) -> None:
    """Refuse pipes, devices and kernel files in place of files.

    Opening one may wait for ever.

    Raises:
        ValueError: names the first one.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if os.path.exists(path) and not path.is_dir():
            check_file(path, math.inf)


def numbered_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints `model_<iteration>.pth`, oldest first."""
    return sorted((path for path in folder.glob("model_*.pth") if _NUMBERED.fullmatch(path.name)), key=_number)


def checkpoint_to_resume(folder: Path, resume: bool) -> Path | None:
    """Last checkpoint, or the newest intact one before; None if new.

    Raises:
        ValueError: the folder holds checkpoints, and `resume` is not given.
        CheckpointError: the pointer names no file, or all checkpoints are damaged.
    """
    pointer = folder / POINTER
    numbered = numbered_checkpoints(folder)
    final = [folder / FINAL] if (folder / FINAL).is_file() else []
    if not pointer.exists() and not numbered and not final:
        return None
    if not resume:
        raise ValueError(f"{folder} holds a run already: add --resume to go on, or choose another train.output_dir")
    if pointer.exists():
        last = _pointed(pointer)
        limit = _number(last) if _is_numbered(last) else math.inf
        candidates = [last, *(path for path in reversed(numbered) if _number(path) < limit)]
    else:
        candidates = sorted(numbered + final, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
        logger.warning("%s is missing: resuming from the newest checkpoint, %s", pointer, candidates[0].name)
    for path in candidates:
        damage = find_damage(path)
        if damage is None:
            return path
        logger.warning("%s is damaged (%s): it is not used", path, damage)
    raise CheckpointError(
        f"{path}: {damage}, and no earlier checkpoint is intact; start again in another train.output_dir"
    )


def find_damage(path: Path) -> str | None:
    """Damage of a checkpoint by its checksums; None if intact.

    None also for formats without checksums.
    """
    try:
        if not zipfile.is_zipfile(path):
            return None if _is_old_format(path) else "cut off, or no checkpoint"
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
        return None if bad is None else f"its part {one_line(bad, 60)} does not match its checksum"
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        return one_line(error)


def _pointed(pointer: Path) -> Path:
    try:
        named = pointer.parent / pointer.read_text().strip()
        there = named.is_file()
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{pointer}: cannot be read ({one_line(error)}); write a checkpoint's name there"
        ) from error
    if not there:
        raise CheckpointError(
            f"{pointer} names {named.name}, which is not there; write another checkpoint's name there"
        )
    return named


def _is_old_format(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(1) == b"\x80"


def _is_numbered(path: Path) -> bool:
    return _NUMBERED.fullmatch(path.name) is not None


def _number(path: Path) -> int:
    return int(_NUMBERED.fullmatch(path.name)[1])
