import io
import logging
import types

import cv2
import pytest

from engine.messages import OneLine, escaped, log_to_terminal


@pytest.mark.parametrize("release", [4, 5])
def test_opencv_is_silenced_in_both_its_releases(release: int, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[int] = []
    if release == 4:
        monkeypatch.setattr(cv2, "setLogLevel", levels.append, raising=False)
        monkeypatch.setattr(cv2, "utils", types.SimpleNamespace())
    else:
        monkeypatch.delattr(cv2, "setLogLevel", raising=False)
        monkeypatch.setattr(
            cv2, "utils", types.SimpleNamespace(logging=types.SimpleNamespace(setLogLevel=levels.append))
        )
    log_to_terminal()
    assert levels == [2]


def test_control_characters_are_written_out_and_letters_are_not():
    assert escaped("a\nb\x1b[2J\t\u2028ä漢") == "a\\nb\\x1b[2J\\t\\u2028ä漢"


def test_a_name_cannot_forge_a_line_and_tracebacks_stay_out():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLine("%(levelname)s: %(message)s"))
    logger = logging.Logger("x")
    logger.addHandler(handler)
    try:
        raise ValueError("deep")
    except ValueError as error:
        logger.error("%s: bad", "a.png\nERROR: all is lost", exc_info=error)
    assert stream.getvalue() == "ERROR: a.png\\nERROR: all is lost: bad\n"


def test_of_a_library_s_warning_only_the_first_line_is_shown():
    record = logging.LogRecord("py.warnings", logging.WARNING, "", 0, "%s", ("f.py:1: Old: text\n  code()\n",), None)
    assert OneLine("%(message)s").format(record) == "f.py:1: Old: text"
