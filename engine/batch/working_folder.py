"""Working folders beside an output, marked to keep users' folders safe."""

import fcntl
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from data.files import FileError, make_folder, reason, remove_leftovers, write_atomic

logger = logging.getLogger(__name__)

MARK = ".mematte-frames"
_TEXT = b"Frames of an unfinished video. The command that writes it removes this folder at the end.\n"


class WorkingFolder:
    """A folder of intermediate files, recognised by a mark in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> None:
        """Refuse a folder that holds files and no mark."""
        try:
            foreign = self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))
            if foreign and not (self.path / MARK).is_file():
                raise FileError(
                    f"{self.path}: is needed for the frames of the video, but holds other files; choose another output"
                )
        except OSError as error:
            raise FileError(f"{self.path}: cannot be read ({reason(error)})") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the marked folder, and keep other runs out of it.

        Raises:
            FileError: it holds other files and no mark, or another run uses it.
        """
        self.check()
        make_folder(self.path)
        mark = self.path / MARK
        if not mark.is_file():
            write_atomic(mark, _TEXT)
        busy = FileError(f"{self.path}: another run makes this video; wait for it to end, or choose another output")
        try:
            file = open(mark, "rb")
        except OSError as error:  # the other run ended at this moment
            raise busy from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise busy from error
            except OSError as error:  # a file system without locks
                logger.warning("%s: cannot be locked (%s); start no second run", self.path, reason(error))
            if not os.fstat(file.fileno()).st_nlink:
                raise busy
            yield

    def remove(self, written: Iterable[Path]) -> None:
        """Remove the written files, and the folder once it is empty."""
        remove_leftovers(self.path)
        for path in (*written, self.path / MARK):
            path.unlink(missing_ok=True)
        try:
            self.path.rmdir()
        except OSError:
            logger.warning("%s: holds other files and is left there", self.path)
