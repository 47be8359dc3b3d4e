import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

import evaluation
from metrics.page import error_map, histogram

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Structure(HTMLParser):
    """Tags in order; complains about what is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.tags, self.sources = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "rect", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("rect", "line"):
            assert self.open.pop() == tag


@pytest.fixture
def report(tmp_path):
    """Report on three predictions, one far off and named like a tag."""
    rng = np.random.default_rng(0)
    for folder in ("pred", "label", "trimap"):
        (tmp_path / folder).mkdir()
    for name, noise in (("good", 2), ("fair", 20), ("bad <b>", 90)):
        label = cv2.GaussianBlur(cv2.circle(np.zeros((60, 80), np.uint8), (40, 30), 18, 255, -1), (9, 9), 3)
        pred = np.clip(label + rng.normal(0, noise, label.shape), 0, 255).astype(np.uint8)
        trimap = np.where(label == 0, 0, np.where(label == 255, 255, 128)).astype(np.uint8)
        for folder, pixels in (("pred", pred), ("label", label), ("trimap", trimap)):
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), pixels)
    folders = ["--pred-dir", tmp_path / "pred", "--label-dir", tmp_path / "label", "--trimap-dir", tmp_path / "trimap"]
    arguments = [*map(str, folders), "--workers", "1", "--report", str(tmp_path / "report.html")]
    assert evaluation.main(arguments) == 0
    return tmp_path / "report.html"


def test_the_page_is_whole_and_needs_nothing_else(report):
    text = report.read_text()
    page = Structure()
    page.feed(text)
    assert page.open == []
    assert page.tags.count("svg") == 4
    assert page.tags.count("img") == 3 * 4
    assert all(source.startswith("data:") for source in page.sources)
    assert "http" not in text and "<b>" not in text
    rows = re.findall(r"<h3>(.*?)</h3>", text)
    assert rows == ["bad &lt;b&gt;", "fair", "good"]  # the worst first


def test_panels_are_the_pictures(report):
    first = re.findall(r'alt="(\w+)" src="data:image/png;base64,([^"]+)"', report.read_text())[:4]
    decoded = {name: cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), -1) for name, data in first}
    assert list(decoded) == ["prediction", "truth", "error", "trimap"]
    assert np.array_equal(decoded["truth"], cv2.imread(str(report.parent / "label/bad <b>.png"), -1))
    assert (decoded["error"][decoded["trimap"] != 128] == 40).all()


def test_larger_errors_are_brighter():
    shown = error_map(np.array([[0, 50, 255]], np.uint8), np.zeros((1, 3), np.uint8), None).astype(int).sum(axis=2)[0]
    assert shown[0] < shown[1] < shown[2]


def test_bars_count_every_value():
    figure = histogram("x", [0, 0, 1, 5, 5, 5])
    assert sum(map(int, re.findall(r"<title>(\d+)</title>", figure))) == 6
    assert "mean 2.667, median 3" in figure
    assert "nan" not in histogram("x", [0.0])


def test_a_report_that_cannot_be_written_is_refused_before_scoring(report, capsys):
    with pytest.raises(SystemExit) as stop:
        evaluation.main(["--pred-dir", "a", "--label-dir", "b", "--whole-image", "--report", "/nowhere/r.html"])
    assert stop.value.code == 2
    assert "--report /nowhere/r.html" in capsys.readouterr().err


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to look at the page with; its structure is tested above")
def test_a_browser_shows_it_without_script_errors(report):
    # Sort by SAD the wrong way round, then say in the title what came of it: an error in the script would prevent that.
    text = report.read_text()
    head = 'document.querySelectorAll("#images th")[1].click(); '
    click = f'<script>{head}{head}document.title = "sorted " + '
    click += 'document.querySelector("#images tbody").rows[0].cells[0].textContent;</script></body>'
    page, screenshot = report.with_name("clicked.html"), report.with_name("shot.png")
    page.write_text(text.replace("</body>", click))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1240,1400"]
    options += [f"--user-data-dir={report.parent / 'profile'}", f"--screenshot={screenshot}", "--hide-scrollbars"]
    shown = subprocess.run([CHROMIUM, *options, page.as_uri()], capture_output=True, text=True, timeout=120)
    assert screenshot.is_file(), shown.stderr[-500:]
    assert "CONSOLE" not in shown.stderr
    pixels = cv2.imread(str(screenshot))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100 and (pixels != 255).mean() > 0.03
    dump = subprocess.run(
        [CHROMIUM, *options[:-2], "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert "<title>sorted good</title>" in dump.stdout
