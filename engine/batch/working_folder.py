"""Working folders beside an output, marked to keep users' folders safe."""

import logging
from collections.abc import Iterable
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

    def create(self, marked: bool) -> None:
        """Create the folder; a marked one is checked again first."""
        if marked:
            self.check()
        make_folder(self.path)
        if marked:
            write_atomic(self.path / MARK, _TEXT)

    def remove(self, written: Iterable[Path]) -> None:
        """Remove the written files, and the folder once it is empty."""
        remove_leftovers(self.path)
        for path in (*written, self.path / MARK):
            path.unlink(missing_ok=True)
        try:
            self.path.rmdir()
        except OSError:
            logger.warning("%s: holds other files and is left there", self.path)
