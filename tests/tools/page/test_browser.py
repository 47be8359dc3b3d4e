"""The page in a real browser, driven as a user would."""

import base64
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.files import image_size, read_alpha
from tools import arguments

gradio = pytest.importorskip("gradio", reason="the page needs requirements-app.txt")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="the browser test needs playwright (requirements-app.txt)"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt-get install chromium)"),
    pytest.mark.timeout(900),
]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
PATIENCE_MS = 180_000
ASTRONAUT = arguments.ROOT / "samples" / "photographs" / "image" / "astronaut.jpg"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address of the page, and the folder of its files."""
    from tools import app

    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {**app.OFFLINE, "GRADIO_TEMP_DIR": str(folder)}.items():
            patched.setenv(name, value)
        from tools.page.layout import build, launch

        page = build(app.models(app.parse([])), app.samples(), folder)
        yield launch(page, None, folder, block=False), folder
        page.close(verbose=False)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, served: tuple[str, Path]) -> Iterator[Callable]:
    """Open the page in a fresh profile; requests must stay local."""
    contexts, requested = [], []

    def open_page():
        contexts.append(browser.new_context(viewport={"width": 1400, "height": 1000}))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: requested.append(request.url))
        page.goto(served[0])
        page.wait_for_selector("#photograph")
        return page

    yield open_page
    for context in contexts:
        context.close()
    elsewhere = {url for url in requested if not url.startswith((served[0], "data:", "blob:"))}
    assert elsewhere == set()


def upload(page, path: Path, where: str = "#photograph") -> None:
    page.locator(f"{where} input[type=file]").set_input_files(str(path))


def says(page, *words: str) -> str:
    """Wait until the page says one of the words; returns the sentence."""
    page.wait_for_function(
        "words => words.some(word => document.querySelector('#status').innerText.includes(word))", arg=list(words)
    )
    return page.locator("#status").inner_text()


def draw(page, tool: str, *points: tuple[float, float]) -> None:
    """Draw along points, in shares of the picture's width and height."""
    page.locator(f"[data-tool={tool}]").click()
    canvas = page.locator("#marks")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def mark_astronaut(page) -> None:
    draw(page, "object", (0.4, 0.2), (0.45, 0.3), (0.3, 0.6), (0.35, 0.95))
    draw(page, "object", (0.6, 0.9), (0.75, 0.75))
    draw(page, "surroundings", (0.15, 0.05), (0.12, 0.5))
    draw(page, "surroundings", (0.65, 0.05), (0.9, 0.1), (0.95, 0.6))


def test_upload_mark_run_correct_and_download(visit, served: tuple[str, Path], tmp_path: Path) -> None:
    page = visit()
    upload(page, ASTRONAUT)
    page.wait_for_selector("#marks")
    mark_astronaut(page)
    page.locator("#look").click()
    assert "red band" in says(page, "red band", "⚠")
    page.locator("#run").click()
    assert "512 x 512 pixels in" in says(page, "peak memory", "⚠")
    draw(page, "unknown", (0.3, 0.1), (0.5, 0.04))
    page.locator("#run").click()
    page.wait_for_timeout(500)
    says(page, "peak memory", "⚠")
    page.wait_for_selector("#alpha img")
    page.locator("#alpha img").click()
    page.wait_for_selector("#loupe img")
    page.locator("#write").click()
    with page.expect_download() as waiting:
        page.locator("#download a[download]").first.click()
    waiting.value.save_as(tmp_path / "page.png")
    if target := os.environ.get("PAGE_SCREENSHOT"):  # how docs/images/page.png is made
        page.screenshot(path=target, full_page=True)
    alpha = read_alpha(tmp_path / "page.png")
    assert alpha.shape == (512, 512)
    assert alpha[100, 220] == 255
    assert alpha[20, 480] == 0


def test_the_file_equals_that_of_inference(visit, tmp_path: Path) -> None:
    import inference

    trimap = arguments.ROOT / "samples" / "photographs" / "trimap" / "astronaut.png"
    page = visit()
    upload(page, ASTRONAUT)
    page.wait_for_selector("#marks")
    upload(page, trimap, "#trimap")
    page.wait_for_selector("#trimap a")
    page.locator("#run").click()
    assert "peak memory" in says(page, "peak memory", "⚠")
    page.locator("#write").click()
    with page.expect_download() as waiting:
        page.locator("#download a[download]").first.click()
    waiting.value.save_as(tmp_path / "page.png")
    options = ["--image", ASTRONAUT, "--trimap", trimap, "--output", tmp_path / "command.png"]
    assert inference.main([str(option) for option in options]) == 0
    assert np.array_equal(read_alpha(tmp_path / "page.png"), read_alpha(tmp_path / "command.png"))


def test_bad_photographs_and_marks_give_a_sentence(visit, tmp_path: Path) -> None:
    page = visit()
    page.locator("#run").click()
    assert "open a photograph first" in says(page, "⚠")
    (tmp_path / "notes.jpg").write_text("no picture at all")
    upload(page, tmp_path / "notes.jpg")
    assert "notes.jpg: " in says(page, "is not a")
    page.locator("#photograph button[aria-label]").first.click()
    data = bytearray(cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes())
    data[16:24] = (20_000).to_bytes(4, "big") + (10_000).to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(data)
    upload(page, tmp_path / "huge.png")
    assert "200 megapixels" in says(page, "megapixels")


def test_one_pixel_and_strokes_of_one_kind(visit, tmp_path: Path) -> None:
    page = visit()
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    upload(page, tmp_path / "dot.png")
    says(page, "1 x 1 pixels. Mark")
    page.locator("#run").click()
    assert "draw a box" in says(page, "⚠")
    page.locator("#photograph button[aria-label]").first.click()
    upload(page, ASTRONAUT)
    says(page, "512 x 512 pixels. Mark")
    draw(page, "surroundings", (0.15, 0.05), (0.12, 0.5))
    page.locator("#run").click()
    assert "no stroke marks the object" in says(page, "no stroke")


PASTE = """data => {
    const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0)), held = new DataTransfer();
    held.items.add(new File([bytes], "image.jpg", { type: "image/jpeg" }));
    document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: held, bubbles: true }));
}"""


def test_a_photograph_is_pasted_and_another_one_over_it(visit) -> None:
    page = visit()
    for path, size in ((ASTRONAUT, "512 x 512"), (arguments.ROOT / "samples" / "original" / "fur.jpg", None)):
        page.evaluate(PASTE, base64.b64encode(path.read_bytes()).decode())
        height, width = image_size(path)
        says(page, size or f"{width} x {height} pixels. Mark")
        page.wait_for_selector("#marks")


def test_strokes_are_undone_one_by_one_and_a_box_ends_at_the_frame(visit) -> None:
    page = visit()
    upload(page, ASTRONAUT)
    page.wait_for_selector("#marks")
    states = [page.evaluate("window.readMarks()")]
    for y in (0.3, 0.6):
        draw(page, "object", (0.3, y), (0.6, y))
        states.append(page.evaluate("window.readMarks()"))
    page.locator("[data-tool=clear]").click()
    assert page.evaluate("window.readMarks()") == states[0]
    for expected in (states[2], states[1], states[0], states[0]):
        page.locator("[data-tool=undo]").click()
        assert page.evaluate("window.readMarks()") == expected
    draw(page, "box", (0.2, 0.05), (1.3, 1.2))
    page.locator("#look").click()
    assert "red band" in says(page, "red band", "⚠")
    page.locator("[data-tool=clear]").click()
    draw(page, "box", (0.5, 0.5), (0.5, 0.5))
    page.locator("#look").click()
    assert "draw a box" in says(page, "⚠")


def test_two_people_and_a_closed_browser(visit, tmp_path: Path) -> None:
    one, two = visit(), visit()
    upload(one, Path(shutil.copy(ASTRONAUT, tmp_path / "private.jpg")))
    one.wait_for_selector("#marks")
    assert two.locator("#marks").count() == 0
    upload(two, arguments.ROOT / "samples" / "original" / "fur.jpg")
    two.wait_for_selector("#marks")
    assert "private" in one.content()
    assert "private" not in two.content()
    mark_astronaut(one)
    one.locator("#run").click()
    one.close()  # while it computes
    draw(two, "box", (0.05, 0.05), (0.95, 0.95))
    two.locator("#run").click()
    assert "peak memory" in says(two, "peak memory", "⚠")


def test_names_that_point_elsewhere_stay_inside(visit, served: tuple[str, Path]) -> None:
    page = visit()
    content = ASTRONAUT.read_bytes()
    part = {"name": "../../../evil.jpg", "mimeType": "image/jpeg", "buffer": content}
    answer = page.request.post(f"{served[0]}gradio_api/upload", multipart={"files": part})
    for place in answer.json() if answer.ok else []:
        assert Path(place).resolve().is_relative_to(served[1].resolve())
    assert not any("evil" in path.name for path in served[1].parent.glob("*"))
    for place in ("/etc/passwd", f"{served[1]}/../../x"):
        assert not page.request.get(f"{served[0]}gradio_api/file={place}").ok
