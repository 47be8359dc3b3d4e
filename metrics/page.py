"""Scores as one HTML page: means, distributions, worst images, table."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from data.files import encode_png
from data.trimap import is_unknown
from metrics.folder import Entry, FolderScores, ImageScore, read_entry
from metrics.scores import METRICS

WORST_SHOWN = 12
SIDE_PX = 360
BINS = 24
TITLES = {"sad": "SAD / 1000", "mse": "MSE &times; 1000", "grad": "Grad / 1000", "conn": "Conn / 1000"}
_WIDTH, _HEIGHT, _MARGIN = 320, 150, 24

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; } th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; } th { cursor: pointer; white-space: nowrap; }
.plots, .panels { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; } figcaption { color: #555; }
.panels img { display: block; max-width: 270px; image-rendering: auto; } rect { fill: #4a7ab5; } line { stroke: #c33; }
text { font-size: 11px; fill: #555; } h3 { margin: 1.5rem 0 .3rem; font-size: 1rem; } .note { color: #a33; }
"""

# A click on a heading sorts the rows by that column, the largest first, and the other way round the next time.
_SCRIPT = """
document.querySelectorAll("#images th").forEach((head, column) => head.addEventListener("click", () => {
  const body = document.querySelector("#images tbody"), rows = [...body.rows];
  const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const order = head.dataset.order = head.dataset.order === "down" ? "up" : "down";
  rows.sort((a, b) => column ? value(b) - value(a) : value(a).localeCompare(value(b)));
  if (order === "up") rows.reverse();
  body.append(...rows);
}));
"""


@dataclass(frozen=True)
class Panels:
    """Pictures of one image as PNG bytes by caption, or their problem."""

    pictures: Mapping[str, bytes]
    problem: str = ""


def as_html(result: FolderScores, entries: Sequence[Entry], title: str, snap_trimap: bool = False) -> str:
    """The page; `entries` are the files that the scores were made from."""
    files = {entry.name: entry for entry in entries}
    worst = sorted(result.scored, key=lambda image: -image.scores.sad)[:WORST_SHOWN]
    region = "the whole image" if result.whole_image else "the unknown region"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{len(result.scored)} images, counted in {region}.</p>",
        _notes(result),
    ]
    if result.mean:
        parts += [_means(result.mean), '<h2>Distribution</h2><div class="plots">']
        parts += [
            histogram(TITLES[metric], [getattr(image.scores, metric) for image in result.scored]) for metric in METRICS
        ]
        parts += ["</div>", "<h2>Largest SAD</h2>"]
        parts += [_worst(image, _panels(files[image.name], snap_trimap)) for image in worst]
        parts += ["<h2>All images</h2>", _table(result)]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + f"\n<script>{_SCRIPT}</script>\n</body></html>\n"
    )


def histogram(title: str, values: Sequence[float]) -> str:
    """SVG histogram with a line at the mean."""
    values = np.asarray(values, np.float64)
    top = float(values.max()) or 1.0
    counts, _ = np.histogram(values, BINS, (0, top))
    width, height = (_WIDTH - 2 * _MARGIN) / BINS, _HEIGHT - 2 * _MARGIN
    bars = "".join(
        f'<rect x="{_MARGIN + index * width:.1f}" y="{_HEIGHT - _MARGIN - count / counts.max() * height:.1f}" '
        f'width="{width - 1:.1f}" height="{count / counts.max() * height:.1f}"><title>{count}</title></rect>'
        for index, count in enumerate(counts)
    )
    mean = _MARGIN + values.mean() / top * (_WIDTH - 2 * _MARGIN)
    return (
        f'<figure><svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{title}">{bars}'
        f'<line x1="{mean:.1f}" x2="{mean:.1f}" y1="{_MARGIN / 2}" y2="{_HEIGHT - _MARGIN}"/>'
        f'<text x="{_MARGIN}" y="{_HEIGHT - 8}">0</text>'
        f'<text x="{_WIDTH - _MARGIN}" y="{_HEIGHT - 8}" text-anchor="end">{top:.4g}</text>'
        f"</svg><figcaption>{title}; mean {values.mean():.4g}, median {np.median(values):.4g}</figcaption></figure>"
    )


def error_map(pred: np.ndarray, target: np.ndarray, trimap: np.ndarray | None) -> np.ndarray:
    """Absolute error, uint8 (H, W, 3), bright where large, grey where not counted."""
    error = cv2.absdiff(pred, target)
    shown = cv2.cvtColor(cv2.applyColorMap(error, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    if trimap is not None:
        shown[~is_unknown(trimap)] = 40
    return shown


def _panels(entry: Entry, snap_trimap: bool) -> Panels:
    try:
        pred, target, trimap = read_entry(entry, snap_trimap)
    except ValueError as error:
        return Panels({}, str(error))
    shown = {"prediction": pred, "truth": target, "error": error_map(pred, target, trimap)}
    if trimap is not None:
        shown["trimap"] = trimap
    return Panels({caption: _png(picture) for caption, picture in shown.items()})


def _png(picture: np.ndarray) -> bytes:
    scale = SIDE_PX / max(picture.shape[:2])
    if scale < 1:
        size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return encode_png(picture)


def _worst(image: ImageScore, panels: Panels) -> str:
    scores = ", ".join(f"{metric.upper()} {getattr(image.scores, metric):.4g}" for metric in METRICS)
    heading = f"<h3>{html.escape(image.name)}</h3><p>{scores}</p>"
    if panels.problem:
        return f'{heading}<p class="note">{html.escape(panels.problem)}</p>'
    figures = "".join(
        f'<figure><img alt="{caption}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
        f"<figcaption>{caption}</figcaption></figure>"
        for caption, data in panels.pictures.items()
    )
    return f'{heading}<div class="panels">{figures}</div>'


def _means(mean: Mapping[str, float]) -> str:
    heads = "".join(f"<th>{TITLES[metric]}</th>" for metric in METRICS)
    cells = "".join(f"<td>{mean[metric]:.4f}</td>" for metric in METRICS)
    return f"<table><thead><tr><th></th>{heads}</tr></thead><tbody><tr><td>mean</td>{cells}</tr></tbody></table>"


def _notes(result: FolderScores) -> str:
    counts = ((len(result.missing), "without prediction"), (len(result.without_unknown), "without unknown pixels"))
    lines = [f"{count} {reason}, not in the mean" for count, reason in counts if count]
    lines += [f"{image.name}: {image.error}" for image in result.errors]
    return "".join(f'<p class="note">{html.escape(line)}</p>' for line in lines)


def _table(result: FolderScores) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(image.name)}</td>"
        + "".join(
            f'<td data-value="{getattr(image.scores, metric)!r}">{getattr(image.scores, metric):.4f}</td>'
            for metric in METRICS
        )
        + "</tr>"
        for image in result.scored
    )
    heads = "".join(f"<th>{title}</th>" for title in TITLES.values())
    return f'<table id="images"><thead><tr><th>image</th>{heads}</tr></thead><tbody>{rows}</tbody></table>'
