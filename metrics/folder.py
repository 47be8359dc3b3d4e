"""Scores of a folder of predictions, one process per core.

Files are matched by stem, so the suffixes may differ. Nothing is printed and nothing is skipped silently: what cannot
be scored comes back as a record with its name and reason.
"""

import logging
import multiprocessing
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from data.files import FileError, decode, first_channel, first_picture, read_trimap, reason
from data.folders import IMAGE_SUFFIXES, is_unread, warn_of_unread
from metrics.scores import METRICS, Scores, score_pair

logger = logging.getLogger(__name__)

INDEX = re.compile(r"_\d+$")
COMPANION = re.compile(r"_(rgba|foreground|composite|preview)$")  # what inference.py writes beside an alpha


@dataclass(frozen=True)
class Entry:
    """The files of one prediction; `trimap` is None where every pixel counts."""

    name: str
    pred: Path
    label: Path
    trimap: Path | None = None


@dataclass(frozen=True)
class ImageScore:
    """Outcome of one image: scores, or the reason why there are none."""

    name: str
    scores: Scores | None = None
    error: str = ""


@dataclass
class Matching:
    """Matched files, missing predictions, misfits, and predictions that nothing asks for."""

    entries: list[Entry] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    problems: list[ImageScore] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


@dataclass
class FolderScores:
    """Scores of a folder, ordered by name."""

    images: list[ImageScore]
    missing: list[str]
    unused: list[str]
    whole_image: bool
    entries: list[Entry] = field(default_factory=list)

    @property
    def scored(self) -> list[ImageScore]:
        """Images that count in the mean."""
        return [image for image in self.images if image.scores is not None and image.scores.defined]

    @property
    def without_unknown(self) -> list[str]:
        """Names of images whose trimap has no unknown pixels.

        Their MSE is undefined, so they are left out.
        """
        return [image.name for image in self.images if image.scores is not None and not image.scores.defined]

    @property
    def errors(self) -> list[ImageScore]:
        """Images that could not be scored."""
        return [image for image in self.images if image.scores is None]

    @property
    def mean(self) -> dict[str, float] | None:
        """Unweighted mean over the images; None without images."""
        scored = self.scored
        if not scored:
            return None
        return {metric: sum(getattr(image.scores, metric) for image in scored) / len(scored) for metric in METRICS}


def list_images(folder: Path) -> dict[str, list[Path]]:
    """Image files by stem, at least one.

    Other files are named in a warning.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    files: dict[str, list[Path]] = {}
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    for path in visible:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            files.setdefault(path.stem, []).append(path)
    warn_of_unread(folder, [path.name for path in visible if not path.is_dir() and is_unread(path)])
    if not files:
        raise ValueError(f"{folder} holds no image files ({', '.join(IMAGE_SUFFIXES)})")
    return files


def label_stem(name: str, labels: Iterable[str]) -> str | None:
    """Stem of an image's label.

    Its own, or `<foreground>` for Composition-1k's `<foreground>_<index>`.

    Foreground names end in digits themselves (`cat-1288531_1920`), so an index is only cut off where no label has the
    full name, and only once.
    """
    if name in labels:
        return name
    foreground = INDEX.sub("", name)
    return foreground if foreground in labels else None


def match_folders(
    pred_dir: Path, label_dir: Path, trimap_dir: Path | None = None, whole_image: bool = False
) -> Matching:
    """Find label and trimap of every image that needs a prediction.

    The trimap folder says which images there are: one label may serve many composites. Without one, the labels say it,
    a label that serves several predictions standing for all of them.
    """
    if trimap_dir is None and not whole_image:
        raise ValueError("no trimap folder: name one, or count the whole image")
    preds, labels = list_images(pred_dir), list_images(label_dir)
    trimaps = None if trimap_dir is None else list_images(trimap_dir)
    if trimaps is None:
        served = {name: label_stem(name, labels) for name in preds}
        names = {name for name, label in served.items() if label} | (set(labels) - set(served.values()))
    else:
        served = {name: label_stem(name, labels) for name in trimaps}
        names = set(trimaps) | (set(labels) - set(served.values()))
    matching = Matching(unused=sorted(name for name in set(preds) - names if COMPANION.sub("", name) not in names))
    for name in sorted(names):
        try:
            pred = preds.get(name)
            label = labels.get(label_stem(name, labels) or "")
            if label is None:
                raise ValueError(f"no label for it in {label_dir}")
            if trimaps is not None and name not in trimaps:
                raise ValueError(f"no trimap for it in {trimap_dir}")
            if pred is None:
                matching.missing.append(name)
                continue
            trimap = None if trimaps is None or whole_image else _only(trimaps[name])
            matching.entries.append(Entry(name, _only(pred), _only(label), trimap))
        except ValueError as error:
            matching.problems.append(ImageScore(name, error=str(error)))
    return matching


def _only(paths: list[Path]) -> Path:
    if len(paths) > 1:
        listed = " and ".join(path.name for path in paths)
        raise ValueError(f"ambiguous: {listed} in {paths[0].parent}; keep one of them")
    return paths[0]


def read_matte(path: Path, role: str, binary_ok: bool = False) -> np.ndarray:
    """First stored channel of a matte as uint8 (H, W).

    Other depths are refused, not converted.

    Args:
        role: "prediction" or "label", for the message.
        binary_ok: accept files of less than 8 bits, which are expanded to 0..255.
    """
    picture = decode(path)
    pixels = first_picture(path, picture)
    if picture.bits > 8:
        raise FileError(f"{role} {path}: has {picture.bits} bits; the metrics are defined on 8 bits, save it as 8-bit")
    if picture.bits < 8 and not binary_ok:
        raise FileError(f"{role} {path}: has {picture.bits} bit per pixel; save alpha as 8-bit")
    return first_channel(pixels)


def read_entry(entry: Entry, snap_trimap: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Prediction, label and optional trimap.

    Raises ValueError where they cannot be compared.
    """
    pred, target = read_matte(entry.pred, "prediction"), read_matte(entry.label, "label", binary_ok=True)
    trimap = None
    if entry.trimap:
        try:
            trimap = read_trimap(entry.trimap, "snap" if snap_trimap else "refuse")
        except FileError as error:
            hint = "" if snap_trimap else "; --snap-trimap takes <= 25 as 0, >= 230 as 255 and the rest as 128"
            raise FileError(f"trimap {error}{hint}") from error
    for role, path, array in (("label", entry.label, target), ("trimap", entry.trimap, trimap)):
        if array is not None and array.shape != pred.shape:
            ours, theirs = (f"{shape[1]}x{shape[0]}" for shape in (pred.shape, array.shape))
            raise FileError(f"prediction {entry.pred.name} is {ours} but {role} {path.name} is {theirs}")
    return pred, target, trimap


def score_entry(entry: Entry, snap_trimap: bool = False) -> ImageScore:
    """Scores of one prediction; errors of its files go into the record."""
    try:
        pred, target, trimap = read_entry(entry, snap_trimap)
        return ImageScore(entry.name, score_pair(pred, target, trimap, whole_image=trimap is None))
    except (ValueError, MemoryError, cv2.error) as error:
        return ImageScore(entry.name, error=reason(error))


def prepare_worker() -> None:
    """Limit a process to one thread and silence OpenCV.

    Records tell of its errors.
    """
    cv2.setNumThreads(1)
    # OpenCV 5 moved the function; level 0 is silent in both places.
    set_log_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    set_log_level(0)


def _score_all(
    entries: list[Entry], snap_trimap: bool, workers: int, prepare: Callable[[], None]
) -> Iterator[ImageScore]:
    """Score here (workers <= 1) or in a pool, in order of completion."""
    if workers <= 1:
        yield from (score_entry(entry, snap_trimap) for entry in entries)
        return
    # Spawned, not forked: the caller may hold threads or a GPU.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=prepare) as pool:
        pending = {pool.submit(score_entry, entry, snap_trimap): entry for entry in entries}
        for future in as_completed(pending):
            try:
                yield future.result()
            except BrokenProcessPool:
                yield ImageScore(pending[future].name, error="a worker process died, out of memory? Use fewer workers")


def score_folder(
    pred_dir: Path,
    label_dir: Path,
    trimap_dir: Path | None = None,
    *,
    whole_image: bool = False,
    snap_trimap: bool = False,
    workers: int = 1,
    prepare: Callable[[], None] = prepare_worker,
    progress: Callable[[int, int], None] | None = None,
) -> FolderScores:
    """Score every prediction of a folder.

    Args:
        pred_dir: predictions, one 8-bit file per image.
        label_dir: true alphas, one per image or (Composition-1k) per foreground.
        trimap_dir: trimaps; optional with `whole_image`, where it only says which images there are.
        whole_image: count every pixel, not just the unknown ones.
        snap_trimap: take trimap values <= 25 as 0, >= 230 as 255, the rest as 128, instead of refusing them.
        workers: processes; 1 scores in this one.
        prepare: called in each further process, for example to set up its logging.
        progress: called with (images done, images in all) after each image.
    """
    matching = match_folders(pred_dir, label_dir, trimap_dir, whole_image)
    images = list(matching.problems)
    workers = min(workers, len(matching.entries))
    for done, image in enumerate(_score_all(matching.entries, snap_trimap, workers, prepare), start=1):
        images.append(image)
        if progress:
            progress(done, len(matching.entries))
    images.sort(key=lambda image: image.name)
    return FolderScores(images, matching.missing, matching.unused, whole_image, matching.entries)
