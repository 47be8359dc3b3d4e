"""Terminal logging: one printable line per message."""

import logging
import os
import sys

_OPENCV_ERRORS = 2  # OpenCV's level of messages about errors only


def escaped(text: str) -> str:
    """Escape control characters, so that no file name can forge a line."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class OneLine(logging.Formatter):
    """Format of one printable line per message, without tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        if record.name == "py.warnings":  # its further lines quote source code
            record.message = record.message.split("\n", 1)[0]
        return escaped(self.formatMessage(record))


def log_to_terminal(level: int = logging.WARNING) -> None:
    """Set up the logging of a script, warnings of libraries included."""
    import cv2

    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("%(levelname)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(True)
    # OpenCV 5 moved the function.
    set_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    set_level(_OPENCV_ERRORS)


def open_standard_streams() -> None:
    """Open closed standard streams on the null device.

    The first files that are opened would take their numbers otherwise, and libraries would write messages into them.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
            assert opened == number
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))
