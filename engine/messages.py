"""What a person sees: one line a message, whatever the names of files or the errors of libraries hold."""

import logging

import cv2


def escaped(text: str) -> str:
    """`text` with line breaks and control characters written out, so that no file name can forge or paint a line."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class OneLine(logging.Formatter):
    """Formats a message as one printable line. Tracebacks are for files."""

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        if record.name == "py.warnings":  # its further lines quote source code
            record.message = record.message.split("\n", 1)[0]
        return escaped(self.formatMessage(record))


def log_to_terminal(level: int = logging.WARNING) -> None:
    """Set up the logging of a script, warnings of libraries included."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("%(levelname)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(True)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
