"""The page's Gradio layout, and the session step of each button."""

import base64
import html
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

from data.products.backgrounds import Background
from tools.page.session import COLOURS, KINDS, Marks, Session, band_of

logger = logging.getLogger(__name__)

MAX_UPLOAD = "300mb"
KEPT_SECONDS = 3600  # uploads and results of an hour ago are removed
SESSIONS = 20
PROGRESS = gr.Progress()
CSS = """
#editor { position: relative; line-height: 0; } #editor img { width: 100%; }
#marks { position: absolute; inset: 0; width: 100%; height: 100%; opacity: 0.65; touch-action: none; }
#tools button { border: 2px solid #888; border-radius: 4px; padding: 2px 10px; margin: 2px; }
#tools button.chosen { outline: 3px solid currentColor; }
"""
TOOLS = {
    "object": "object",
    "surroundings": "not the object",
    "unknown": "unknown",
    "box": "box",
    "eraser": "eraser",
    "undo": "undo",
    "clear": "clear",
}


@dataclass(frozen=True)
class Models:
    """Networks to choose from by name; the last one made is kept.

    Attributes:
        make: predictor by name, token cap and working size.
    """

    names: list[str]
    make: Callable[[str, int, str], Any]

    def get(self, name: str, max_tokens: int, working_size: str) -> Any:
        """The predictor of these settings."""
        settings = name, int(max_tokens), working_size or "auto"
        with _lock:
            if _kept.get("settings") != settings:
                _kept.clear()
                _kept.update(settings=settings, predictor=self.make(*settings))
            return _kept["predictor"]


class Superseded(Exception):
    """Another photograph was opened meanwhile: the matte is no longer needed."""


_lock = threading.Lock()
_kept: dict[str, Any] = {}


def head() -> str:
    """The script of the canvas, for the page's head."""
    script = Path(__file__).with_name("canvas.js").read_text(encoding="utf-8")
    colours = ", ".join(f'{name}: "rgb{colour}"' for name, colour in COLOURS.items())
    return f"<script>{script.replace('COLOURS', '{' + colours + '}', 1)}</script>"


def editor(session: Session | None) -> str:
    """Tools, the view and the canvas above it."""
    if session is None:
        return "<p>Open a photograph first.</p>"
    height, width = session.view.shape[:2]
    encoded = cv2.imencode(".jpg", session.view[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    buttons = "".join(
        f'<button type="button" data-tool="{tool}" class="{"chosen" * (tool == "object")}" '
        f'style="color: rgb{COLOURS.get(tool, (60, 60, 60))}">{label}</button>'
        for tool, label in TOOLS.items()
    )
    return (
        f'<div id="tools">{buttons}'
        '<label>brush <input id="brush" type="range" min="2" max="60" value="12"></label></div>'
        f'<div id="editor"><img alt="{html.escape(session.path.name)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(encoded).decode()}">'
        f'<canvas id="marks" width="{width}" height="{height}"></canvas></div>'
    )


def sentence(error: Exception, folder: Path) -> str:
    """Error as the page shows it, without paths of this machine."""
    text = " ".join(str(error).split()) or type(error).__name__
    for parent in {str(path) for path in folder.rglob("*") if path.is_dir()} | {str(folder)}:
        text = text.replace(parent + "/", "")
    return f"⚠ {html.escape(text[:400])}"


def build(models: Models, samples: dict[str, Path], folder: Path) -> gr.Blocks:
    """The page.

    Args:
        samples: photographs to try, by name.
        folder: for files to download; uploads lie in it too.
    """
    with gr.Blocks(title="MEMatte", analytics_enabled=False, delete_cache=(600, KEPT_SECONDS)) as page:
        steps = _Steps(models, samples, folder)
        session = gr.State(None, time_to_live=KEPT_SECONDS, delete_callback=steps.remove_files)
        marks = gr.Textbox(visible=False)
        gr.Markdown("## From a photograph to a cut-out\nOpen a photograph, mark the object, look at the trimap, run.")
        status = gr.HTML(elem_id="status")  # not Markdown, which would load pictures that a file's name links to
        with gr.Row():
            with gr.Column():
                photograph = gr.File(label="photograph (drop, choose or paste)", elem_id="photograph", height=120)
                sample = gr.Dropdown(["", *samples], value="", label="or a sample")
                view = gr.HTML(editor(None))
                with gr.Row():
                    mask = gr.File(label="mask, instead of marks", elem_id="mask", height=100)
                    trimap = gr.File(label="or trimap", elem_id="trimap", height=100)
                band = gr.Slider(
                    0, 100, 0, step=1, label="width of the unknown band in pixels (0: follows the picture)"
                )
                with gr.Row():
                    model = gr.Dropdown(models.names, value=models.names[0], label="model")
                    cap = gr.Number(18_500, precision=0, minimum=0, label="token cap")
                    working_size = gr.Textbox("auto", label="working size (auto, full, pixels)")
                with gr.Row():
                    look = gr.Button("Trimap", elem_id="look")
                    run = gr.Button("Matte", variant="primary", elem_id="run")
            with gr.Column():
                trimap_view = gr.Image(label="trimap", interactive=False, format="jpeg", height=340)
                slider = gr.ImageSlider(
                    label="photograph | cut-out", interactive=False, elem_id="slider", format="jpeg"
                )
                background = gr.Textbox("", label="background: empty for a checkerboard, or a colour (white, #2040a0)")
                behind = gr.File(label="or a picture as background", height=100)
                alpha = gr.Image(
                    label="alpha (click for the loupe)", interactive=False, elem_id="alpha", format="png", height=340
                )
                loupe = gr.Image(label="loupe", interactive=False, elem_id="loupe", format="png", height=220)
                routing = gr.Gallery(label="tokens in full attention, per block", columns=4, format="jpeg", height=180)
                with gr.Row():
                    kind = gr.Dropdown(list(KINDS), value=next(iter(KINDS)), label="file", elem_id="kind")
                    write = gr.Button("Make file", elem_id="write")
                download = gr.File(label="download", interactive=False, elem_id="download", height=90)
        opened = [session, view, trimap_view, slider, alpha, routing, download, status]
        photograph.upload(steps.open, [photograph, session], opened)
        sample.change(steps.open_sample, [sample, session], opened)
        said = [session, marks, mask, trimap, band]
        read = "(session, marks, ...more) => [session, window.readMarks(), ...more]"
        look.click(steps.look, said, [session, trimap_view, status], js=read)
        shown = [session, trimap_view, slider, alpha, routing, status]
        run.click(steps.run, [*said, model, cap, working_size, background, behind], shown, js=read)
        alpha.select(steps.magnify, [session], [loupe, status])
        write.click(steps.write, [session, kind], [download, status])
    return page


class _Steps:
    """Callbacks of the buttons, returning the new view.

    Errors that a user can act on become a sentence.
    """

    def __init__(self, models: Models, samples: dict[str, Path], folder: Path) -> None:
        self.models, self.samples, self.folder = models, samples, folder

    def open(self, path: str | Path | None, previous: Session | None = None) -> tuple:
        """A new photograph; what was made of the last one is cleared."""
        nothing = (None, None, None, None, None)
        if previous is not None:
            previous.closed = True
            self.remove_files(previous)
        if not path:
            return None, editor(None), *nothing, ""
        try:
            session = Session.open(path)
        except (ValueError, OSError, MemoryError) as error:
            return None, editor(None), *nothing, sentence(error, self.folder)
        height, width = session.image.shape[:2]
        return session, editor(session), *nothing, f"{width} x {height} pixels. Mark the object."

    def open_sample(self, name: str, previous: Session | None = None) -> tuple:
        return self.open(self.samples.get(name), previous)

    def look(self, session: Session | None, marks: str, mask: str | None, trimap: str | None, band: float) -> tuple:
        """The trimap alone."""
        try:
            with _work(session):
                _make_trimap(session, marks, mask, trimap, band)
                view = session.trimap_view()
        except Superseded:
            return (gr.skip(),) * 3
        except (ValueError, OSError, MemoryError) as error:
            return session, None, sentence(error, self.folder)
        return session, view, "Is the edge inside the red band everywhere? Then run."

    def run(
        self,
        session: Session | None,
        marks: str,
        mask: str | None,
        trimap: str | None,
        band: float,
        model: str,
        cap: float | None,
        working_size: str,
        background: str,
        behind: str | None,
        progress: gr.Progress = PROGRESS,
    ) -> tuple:
        """Trimap and matte."""

        def advance(share: float) -> None:
            if session.closed:
                raise Superseded
            progress(0.2 + 0.6 * share, "network")

        try:
            over = _background(behind, background)
            if cap is None:
                raise ValueError("give a token cap, for example 18500")
            with _work(session):
                progress(0.05, "trimap")
                _make_trimap(session, marks, mask, trimap, band)
                progress(0.15, "model")
                predictor = self.models.get(model, cap, working_size)
                session.run(predictor, advance)
                progress(0.8, "cut-out")
                cutout = session.view, session.cutout_view(over)
                views = session.trimap_view(), cutout, session.alpha_view(), session.routing_views()
        except Superseded:
            return (gr.skip(),) * 6
        except (ValueError, OSError, MemoryError) as error:
            return session, None, None, None, None, sentence(error, self.folder)
        return session, *views, session.summary(predictor)

    def magnify(self, session: Session | None, event: gr.SelectData) -> tuple[np.ndarray | None, str]:
        """The place that was clicked, at full size."""
        try:
            with _work(session):
                height, width = session.view.shape[:2]
                x, y = event.index
                return session.loupe(x / width, y / height), ""
        except Superseded:
            return (gr.skip(),) * 2
        except ValueError as error:
            return None, sentence(error, self.folder)

    def write(self, session: Session | None, kind: str) -> tuple[str | None, str]:
        """A file to download; it replaces the last one."""
        try:
            with _work(session):
                self.remove_files(session)
                place = self._place(session)
                place.mkdir(parents=True)
                return str(session.write(kind, place)), ""
        except Superseded:
            return (gr.skip(),) * 2
        except (ValueError, OSError, MemoryError) as error:
            return None, sentence(error, self.folder)

    def remove_files(self, session: Session | None) -> None:
        """Remove what was written for a session."""
        if session is not None:
            shutil.rmtree(self._place(session), ignore_errors=True)

    def _place(self, session: Session) -> Path:
        return self.folder / "made" / session.token


@contextmanager
def _work(session: Session | None) -> Iterator[None]:
    """Let one button at a time work on an opened photograph.

    Raises:
        ValueError: there is none, or another button is at work.
        Superseded: another photograph was opened before the work was done.
    """
    if session is None:
        raise ValueError("open a photograph first")
    with session.working():
        yield
    if session.closed:
        raise Superseded


def _make_trimap(session: Session, marks: str, mask: str | None, trimap: str | None, band: float) -> None:
    drawn = Marks.parse(marks or "", session.view.shape[:2])
    session.make_trimap(drawn, band_of(band), mask and Path(mask), trimap and Path(trimap))


def _background(picture: str | None, colour: str) -> Background | None:
    """Background by a loaded picture or a colour; None for a checkerboard.

    Text is no path here: the page shows pictures of this machine only to those who load them.
    """
    if picture:
        return Background.parse(picture)
    return Background.of_colour(colour.strip()) if colour and colour.strip() else None


def launch(page: gr.Blocks, port: int | None, folder: Path, block: bool = True) -> str:
    """Serve the page on this machine alone; returns its address."""
    theme = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # no fonts from elsewhere
    page.queue(default_concurrency_limit=1, max_size=SESSIONS)
    _, address, _ = page.launch(
        server_name="127.0.0.1",
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=not block,
        max_file_size=MAX_UPLOAD,
        allowed_paths=[str(folder / "made")],
        state_session_capacity=SESSIONS,
        footer_links=[],
        ssr_mode=False,
        theme=theme,
        css=CSS,
        head=head(),
    )
    return address
