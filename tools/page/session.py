"""One user's photograph: marks, trimap, matte and files to download.

Marks lie on a reduced view; trimap and matte have full size.
"""

import base64
import binascii
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from data.bands import Band
from data.files import image_size, read_image, read_trimap
from data.masks import Width, read_mask
from data.products.backgrounds import Background
from data.products.previews import checkerboard, over, overlay_tokens, overlay_trimap
from data.selections import STROKE_OBJECT, STROKE_SURROUNDINGS, Box, mask_from_boxes, mask_from_strokes
from data.trimap import BACKGROUND, FOREGROUND, UNKNOWN
from engine.batch.outputs import Outputs
from engine.batch.trimaps import solve
from modeling import Predictor
from modeling.inference.memory import peak
from modeling.inference.predictor import Matte

VIEW_PX = 1000  # longer side of the view that marks are drawn on
MAX_MEGAPIXELS = 80  # a photograph and its matte take some 30 bytes per pixel of this machine
MAX_MARK_BYTES = 8 * 10**6
LOUPE_PX = 192  # side of the part of the picture that the loupe shows
COLOURS = {"object": (0, 200, 0), "surroundings": (220, 0, 0), "unknown": (0, 90, 255), "box": (255, 200, 0)}
KINDS = {
    "alpha, 8 bit PNG": ("alpha", ".png", None, 8),
    "alpha, 16 bit PNG": ("alpha", ".png", None, 16),
    "cut-out, RGBA PNG": ("rgba", ".png", "8", 8),
    "cut-out, RGBA EXR": ("rgba", ".exr", "half", 8),
}


@dataclass
class Marks:
    """Marks drawn on the view.

    Attributes:
        strokes: (h, w) uint8, as `mask_from_strokes` takes them.
        unknown: (h, w) bool.
        boxes: one per box that was drawn.
    """

    strokes: np.ndarray
    unknown: np.ndarray
    boxes: list[Box]

    @classmethod
    def parse(cls, url: str, size: tuple[int, int]) -> "Marks":
        """Parse the canvas's PNG data URL; empty text is no mark.

        Raises:
            ValueError: it is no such picture, or of another size than the view.
        """
        if not url:
            return cls(np.zeros(size, np.uint8), np.zeros(size, bool), [])
        header, _, text = url.partition(",")
        try:
            if header != "data:image/png;base64" or len(text) > MAX_MARK_BYTES:
                raise ValueError
            data = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            raise ValueError("the marks could not be read; load the page again") from None
        if len(data) < 33 or tuple(int.from_bytes(data[at : at + 4], "big") for at in (20, 16)) != tuple(size):
            raise ValueError("the marks belong to another photograph; draw them again")
        drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if drawn is None or drawn.ndim != 3 or drawn.shape[2] != 4:
            raise ValueError("the marks could not be read; load the page again")
        return cls.from_layer(drawn[..., [2, 1, 0, 3]])

    @classmethod
    def from_layer(cls, drawn: np.ndarray) -> "Marks":
        """Parse the drawn layer, (h, w, 4) uint8 RGBA in the colours of the tools."""
        palette = np.array(list(COLOURS.values()), np.float32)
        nearest = np.stack([((drawn[..., :3] - colour) ** 2).sum(axis=2) for colour in palette]).argmin(axis=0)
        solid = drawn[..., 3] >= 128
        chosen = {name: solid & (nearest == index) for index, name in enumerate(COLOURS)}
        strokes = np.zeros(solid.shape, np.uint8)
        strokes[chosen["object"]], strokes[chosen["surroundings"]] = STROKE_OBJECT, STROKE_SURROUNDINGS
        count, _, stats, _ = cv2.connectedComponentsWithStats(chosen["box"].astype(np.uint8))
        height, width = solid.shape
        shares = stats[1:count, :4] / np.array([width, height, width, height])
        boxes = [Box(*share, relative=True) for share in shares if share[2] * width > 4 and share[3] * height > 4]
        return cls(strokes, chosen["unknown"], boxes)


@dataclass
class Session:
    """Opened photograph, and the results so far.

    Attributes:
        token: name that no other session has, for its files.
        closed: another photograph has taken its place.
    """

    path: Path
    image: np.ndarray
    view: np.ndarray
    trimap: np.ndarray | None = None
    matte: Matte | None = None
    seconds: float = 0.0
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    closed: bool = False
    _busy: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, path: str | Path) -> "Session":
        """Read a photograph.

        Raises:
            ValueError: it cannot be read, or is too large for the page.
        """
        height, width = image_size(path)
        if height * width > MAX_MEGAPIXELS * 10**6:
            raise ValueError(
                f"the photograph has {height * width / 1e6:.0f} megapixels; the page takes up to {MAX_MEGAPIXELS}: "
                "reduce it, or use inference.py"
            )
        image = read_image(path)
        return cls(Path(path), image, reduced(image, VIEW_PX))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep other threads out; two buttons at once would mix their results.

        Raises:
            ValueError: another one is at work.
        """
        if not self._busy.acquire(blocking=False):
            raise ValueError("this photograph is still being worked on; wait until that is done")
        try:
            yield
        finally:
            self._busy.release()

    def make_trimap(self, marks: Marks, band: Band, mask: Path | None = None, trimap: Path | None = None) -> np.ndarray:
        """Trimap from a file, strokes or boxes, corrected by marks.

        Raises:
            ValueError: nothing says where the object is, or a file does not fit.
        """
        size = self.image.shape[:2]
        strokes = enlarged(marks.strokes, size)
        if trimap is not None:
            made = read_trimap(trimap)
            if made.shape != size:
                raise ValueError(
                    f"the trimap is {made.shape[1]} x {made.shape[0]} pixels, the photograph {size[1]} x "
                    f"{size[0]}; they must be the same"
                )
        elif mask is not None:
            made = band.trimap(self.image, read_mask(mask, size=size), solve)
        elif marks.boxes:
            made = band.trimap(self.image, mask_from_boxes(self.image, marks.boxes, strokes), solve)
        elif marks.strokes.any():
            made = band.trimap(self.image, mask_from_strokes(self.image, strokes), solve)
        else:
            raise ValueError("draw a box around the object, or a stroke on it; or load a mask or a trimap")
        made[strokes == STROKE_OBJECT], made[strokes == STROKE_SURROUNDINGS] = FOREGROUND, BACKGROUND
        made[enlarged(marks.unknown.astype(np.uint8), size) > 0] = UNKNOWN
        self.trimap, self.matte = made, None
        return made

    def run(self, predictor: Predictor, progress: Callable[[float], object] | None = None) -> Matte:
        """Matte the photograph by its trimap.

        `progress` is called with the share of the network that is done.
        """
        if self.trimap is None:
            raise ValueError("make a trimap first")
        start = time.perf_counter()
        self.matte = predictor.run(self.image, self.trimap, self.path.stem, progress)
        self.seconds = time.perf_counter() - start
        return self.matte

    def summary(self, predictor: Predictor) -> str:
        """One line: size, seconds, memory, share of tokens in full attention."""
        height, width = self.trimap.shape
        kept = [maps.mean() for maps in self.matte.keep]
        share = f", {100 * float(np.mean(kept)):.0f} % of tokens in full attention" if kept else ""
        memory = peak(predictor.device) / 2**30
        return f"{width} x {height} pixels in {self.seconds:.1f} s, peak memory {memory:.1f} GiB{share}"

    def trimap_view(self) -> np.ndarray:
        """The view with the unknown band in red and the surroundings darkened."""
        size = self.view.shape[1::-1]
        return overlay_trimap(self.view, cv2.resize(self.trimap, size, interpolation=cv2.INTER_NEAREST))

    def alpha_view(self) -> np.ndarray:
        """Alpha as a grey picture of the view's size."""
        return np.rint(255 * reduced(self.matte.alpha, VIEW_PX)).clip(0, 255).astype(np.uint8)

    def cutout_view(self, background: Background | None = None) -> np.ndarray:
        """Object over a checkerboard, colour or picture, at the view's size."""
        alpha = np.clip(reduced(self.matte.alpha, VIEW_PX), 0, 1)
        behind = background.picture("", *alpha.shape) if background else checkerboard(*alpha.shape) / np.float32(255)
        colours = Outputs().foreground(self.view, np.ascontiguousarray(alpha))
        return np.rint(255 * np.clip(over(colours, alpha, behind), 0, 1)).astype(np.uint8)

    def loupe(self, x: float, y: float) -> np.ndarray:
        """Photograph and alpha around a point (shares of width and height), at full size, side by side."""
        if self.matte is None:
            raise ValueError("run the network first")
        height, width = self.matte.alpha.shape
        side = min(LOUPE_PX, height, width)
        top = min(max(round(y * height) - side // 2, 0), height - side)
        left = min(max(round(x * width) - side // 2, 0), width - side)
        part = np.s_[top : top + side, left : left + side]
        alpha = np.rint(255 * self.matte.alpha[part]).astype(np.uint8)
        both = np.hstack([self.image[part], np.repeat(alpha[..., None], 3, axis=2)])
        return cv2.resize(both, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)

    def routing_views(self) -> list[tuple[np.ndarray, str]]:
        """Captioned pictures of tokens in global attention, per routed block."""
        height, width = self.image.shape[:2]
        factor = max(1, math.ceil(max(height, width) / VIEW_PX))
        size = [max(math.ceil(side / 16) * 16 // factor, 1) for side in (width, height)]
        small = cv2.resize(self.image, size)
        views = []
        for number, sent in enumerate(self.matte.keep_over_picture(), 1):
            pixels = cv2.resize(sent.astype(np.uint8), small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            views.append((overlay_tokens(small, pixels > 0, token_px=1), f"block {number}: {100 * sent.mean():.0f} %"))
        return views

    def write(self, kind: str, folder: Path) -> Path:
        """Write one of KINDS as `inference.py` does; returns its path.

        Raises:
            ValueError: there is no matte yet, or no such kind.
        """
        if self.matte is None:
            raise ValueError("run the network first")
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of file; choose one of {', '.join(KINDS)}")
        name, suffix, depth, bits = KINDS[kind]
        outputs = Outputs((name,), suffix=suffix, depth=depth, bit_depth=bits)
        target = folder / f"{self.path.stem}_{name}{bits if name == 'alpha' else ''}.png"
        outputs.write(target, self.path, self.image, self.trimap, self.matte.alpha, name=self.path.stem)
        return outputs.path(target, name)


def band_of(width_px: float) -> Band:
    """Band of the slider: 0 follows the picture."""
    return Band() if not width_px else Band(Width(width_px), Width(width_px))


def reduced(pixels: np.ndarray, side_px: int) -> np.ndarray:
    """Picture with its longer side at most `side_px`."""
    scale = max(pixels.shape[:2]) / side_px
    if scale <= 1:
        return pixels
    size = tuple(max(1, round(side / scale)) for side in pixels.shape[1::-1])
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def enlarged(marks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Marks of the view at full size (height, width)."""
    return cv2.resize(marks, size[::-1], interpolation=cv2.INTER_NEAREST)
