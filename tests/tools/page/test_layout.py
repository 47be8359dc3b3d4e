"""Buttons of the page without a browser."""

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from modeling import Predictor
from tests.modeling.small import small_mematte
from tools.page.session import COLOURS, KINDS, Session

gradio = pytest.importorskip("gradio", reason="the page needs requirements-app.txt")

from tools.page.layout import Models, _Steps  # noqa: E402  (needs Gradio)

ALPHA = next(iter(KINDS))
RUN = {"mask": None, "trimap": None, "band": 3, "model": "small", "cap": 100, "working_size": "auto"}


@pytest.fixture
def steps(tmp_path: Path) -> _Steps:
    predictor = Predictor(small_mematte(), device="cpu")
    return _Steps(Models(["small"], lambda *_: predictor), {}, tmp_path)


@pytest.fixture
def ball(tmp_path: Path) -> Path:
    picture = np.full((80, 120, 3), (60, 120, 60), np.uint8)
    cv2.imwrite(str(tmp_path / "ball.png"), cv2.circle(picture, (60, 40), 20, (30, 120, 220), -1))
    return tmp_path / "ball.png"


def marks() -> str:
    drawn = np.zeros((80, 120, 4), np.uint8)
    drawn[38:43, 55:66], drawn[4:8, 4:110] = (*COLOURS["object"], 255), (*COLOURS["surroundings"], 255)
    data = cv2.imencode(".png", drawn[..., [2, 1, 0, 3]])[1].tobytes()
    return "data:image/png;base64," + base64.b64encode(data).decode()


def run(steps: _Steps, session: Session, progress: Any = lambda *_: None, **changed: Any) -> tuple:
    settings = RUN | {"background": "", "behind": None} | changed
    return steps.run(session, marks(), **settings, progress=progress)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cap": None}, "give a token cap"),
        ({"band": float("nan")}, "out of range"),
        ({"background": "no colour"}, "is no colour"),
        ({"background": "ball.png"}, "is no colour"),  # a path: files of the machine are not shown
        ({"background": "."}, "is no colour"),
    ],
)
def test_odd_settings_give_a_sentence_and_lose_nothing(
    steps: _Steps, ball: Path, changed: dict, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ball.parent)
    session = steps.open(ball)[0]
    assert "120 x 80 pixels in" in run(steps, session, background="#2040a0", behind=str(ball))[-1]
    assert words in run(steps, session, **changed)[-1]
    assert steps.write(session, ALPHA)[1] == ""


def test_buttons_pressed_during_a_matte_leave_it_alone(steps: _Steps, ball: Path) -> None:
    session, said = steps.open(ball)[0], []

    def press(share: float, _: str) -> None:
        if share > 0.2:
            said.append(steps.look(session, marks(), None, None, 3)[-1])
            said.append(steps.write(session, ALPHA)[-1])
            said.append(run(steps, session)[-1])

    assert "120 x 80 pixels in" in run(steps, session, press)[-1]
    assert all("still being worked on" in sentence for sentence in said)
    assert said


def test_another_photograph_ends_the_matte_of_the_last_one(steps: _Steps, ball: Path) -> None:
    session, opened = steps.open(ball)[0], []

    def press(share: float, _: str) -> None:
        if share > 0.2 and not opened:
            opened.append(steps.open(ball, session)[0])

    skipped = run(steps, session, press)
    assert skipped == (gradio.skip(),) * 6
    assert session.matte is None
    assert "120 x 80 pixels in" in run(steps, opened[0])[-1]


def test_files_of_a_session_go_with_it(steps: _Steps, ball: Path, tmp_path: Path) -> None:
    session = steps.open(ball)[0]
    run(steps, session)
    first = Path(steps.write(session, ALPHA)[0])
    assert first.is_file()
    second = Path(steps.write(session, list(KINDS)[1])[0])
    assert (first.exists(), second.is_file()) == (False, True)
    steps.open(ball, session)
    assert not list((tmp_path / "made").iterdir())
    assert "open a photograph first" in steps.write(None, ALPHA)[1]
