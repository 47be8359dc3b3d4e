"""Sources of foregrounds and backgrounds: folders, checked by headers at the start.

A relative root is looked up in the folder that the environment variable MATTING_DATA names (`Datasets` without it).
Files are paired by their stem, whatever their extension, and always come in the same order.
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from data.files import IMAGE_SUFFIXES, FileError, image_size, read_alpha, read_cutout, read_image, reason
from data.folders import warn_of_unread
from data.training.cache import DecodedCache

logger = logging.getLogger(__name__)

ROOT_VARIABLE, DEFAULT_ROOT = "MATTING_DATA", "Datasets"
NAMED = 5  # how many files a message names


@dataclass(frozen=True)
class Foreground:
    """Colour and alpha of an object; without `alpha`, an RGBA cut-out."""

    name: str
    colour: Path
    alpha: Path | None = None

    def read_alpha(self, cache: DecodedCache) -> np.ndarray:
        """uint8 or uint16 (H, W), not everywhere zero."""
        if self.alpha is None:
            alpha = self._cutout(cache)[1]
        else:
            alpha = cache.get(("alpha", self.alpha), lambda: (read_alpha(self.alpha),))[0]
        if not alpha.any():
            raise FileError(f"{self.alpha or self.colour}: the alpha is 0 everywhere; there is no object to train on")
        return alpha

    def read_colour(self, cache: DecodedCache, reduction: int, size: tuple[int, int]) -> np.ndarray:
        """Colours, uint8 (H, W, 3), reduced up to `reduction` times.

        `size` is the alpha's, which the full picture must have.
        """
        if self.alpha is None:
            return self._cutout(cache)[0]
        if ("colour", self.colour, 1) in cache:
            reduction = 1
        colour = cache.get(("colour", self.colour, reduction), lambda: self._decoded(reduction))[0]
        reduced = tuple(-(-side // reduction) for side in size)
        if colour.shape[:2] not in (tuple(size), reduced):
            raise _unlike(self, size, image_size(self.colour))
        return colour

    def _decoded(self, reduction: int) -> tuple[np.ndarray]:
        return (read_image(self.colour, reduction, writeable=False),)

    def _cutout(self, cache: DecodedCache) -> tuple[np.ndarray, ...]:
        return cache.get(("cutout", self.colour), lambda: read_cutout(self.colour))


@dataclass
class FolderReport:
    """Content of a folder of foregrounds as far as headers tell."""

    foregrounds: list[Foreground] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)  # (height, width) of each foreground
    problems: list[str] = field(default_factory=list)  # one line per unusable file


class ForegroundFolder:
    """Foregrounds of one folder.

    `fg/` and `alpha/` paired by stem, or a flat folder of RGBA cut-outs.

    Args:
        root: the folder; relative to MATTING_DATA.
        colour_dir, alpha_dir: the two sub-folders. `alpha_dir=None`: `colour_dir` holds RGBA cut-outs.
        patterns: shell patterns, of which a stem must match one (sources of one folder with different weights).
        skip_bad: leave out, with a warning, what is refused otherwise.
    """

    def __init__(
        self,
        root: str | Path,
        colour_dir: str = "fg",
        alpha_dir: str | None = "alpha",
        patterns: Sequence[str] = ("*",),
        skip_bad: bool = False,
    ) -> None:
        self.root = resolve_root(root)
        report = inspect_foregrounds(self.root, colour_dir, alpha_dir, patterns)
        if report.problems and not skip_bad:
            raise ValueError(
                f"{self.root}: {_listing(report.problems, 'bad file')}. Fix them, or pass skip_bad=True to ignore them"
            )
        for problem in report.problems:
            logger.warning("left out: %s", problem)
        if not report.foregrounds:
            raise ValueError(f"{self.root}: no usable foreground among {', '.join(patterns)} in {colour_dir}/")
        self.foregrounds = report.foregrounds

    def __len__(self) -> int:
        return len(self.foregrounds)

    def summaries(self) -> list[dict[str, str | int]]:
        """Root, count and hash of the files."""
        files = [path for part in self.foregrounds for path in (part.colour, part.alpha) if path is not None]
        return [summarise(self.root, files)]

    def pick(self, position: int, rng: np.random.Generator) -> Foreground:
        """Foregrounds in turn, as published."""
        return self.foregrounds[position % len(self)]

    def pick_other(self, position: int, rng: np.random.Generator) -> Foreground:
        """Any foreground, to be laid beneath the one at `position`."""
        return self.foregrounds[(position + int(rng.integers(len(self)))) % len(self)]


class CutoutFolder(ForegroundFolder):
    """A folder of RGBA cut-outs (PNG, WebP, ...), by default directly in `root`."""

    def __init__(
        self,
        root: str | Path,
        colour_dir: str = ".",
        patterns: Sequence[str] = ("*",),
        skip_bad: bool = False,
    ) -> None:
        super().__init__(root, colour_dir, None, patterns, skip_bad)


class MixedForegrounds:
    """Several weighted sources; each sample draws all foregrounds from one."""

    def __init__(self, sources: Sequence, weights: Sequence[float]) -> None:
        if len(sources) != len(weights) or not sources:
            raise ValueError(f"{len(sources)} foreground sources, {len(weights)} weights; give one weight per source")
        shares = np.asarray(weights, dtype=np.float64)
        if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
            raise ValueError(f"weights are {list(weights)}; they must be finite, not negative, and not all 0")
        self.sources = list(sources)
        self._cumulative = np.cumsum(shares / shares.sum())
        self._cumulative[-1] = 1.0

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def summaries(self) -> list[dict[str, str | int]]:
        """Root, count and hash of the files of each source."""
        return [summary for source in self.sources for summary in source.summaries()]

    def _draw(self, rng: np.random.Generator):
        return self.sources[int(np.searchsorted(self._cumulative, rng.random(), side="right"))]

    def pick(self, position: int, rng: np.random.Generator) -> Foreground:
        """Any foreground of a source drawn by weight."""
        source = self._draw(rng)
        return source.pick(int(rng.integers(len(source))), rng)

    def pick_other(self, position: int, rng: np.random.Generator) -> Foreground:
        """Independent of the first: a second foreground may come from another source."""
        return self.pick(position, rng)


class BackgroundFolder:
    """Photographs without alpha, in `root` and its sub-folders.

    Args:
        root: the folder; relative to MATTING_DATA.
        min_side_px: refuse backgrounds with a shorter side (reads every header); 0 takes all, since a background is
            enlarged to the foreground's size anyway, as published.
        skip_bad: leave out, with a warning, what is refused otherwise.
    """

    def __init__(self, root: str | Path, min_side_px: int = 0, skip_bad: bool = False) -> None:
        self.root = resolve_root(root)
        self.paths = list_images(self.root, recursive=True)
        problems = {path: problem for path in self.paths if (problem := _too_small(path, min_side_px))}
        if problems and not skip_bad:
            raise ValueError(
                f"{self.root}: {_listing(list(problems.values()), 'bad background')}. "
                "Lower min_side_px, or pass skip_bad=True to ignore them"
            )
        for problem in problems.values():
            logger.warning("left out: %s", problem)
        self.paths = [path for path in self.paths if path not in problems]
        if not self.paths:
            raise ValueError(f"{self.root}: no usable background")

    def __len__(self) -> int:
        return len(self.paths)

    def summary(self) -> dict[str, str | int]:
        """Root, count and hash of the files."""
        return summarise(self.root, self.paths)

    def pick(self, position: int) -> Path:
        """Backgrounds in turn."""
        return self.paths[position % len(self)]


def summarise(root: Path, files: Sequence[Path]) -> dict[str, str | int]:
    """Root, number of files, and SHA-256 of their relative names in order."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(os.fsencode(os.path.relpath(path, root)) + b"\0")
    return {"root": str(root.absolute()), "files": len(files), "sha256": digest.hexdigest()}


def resolve_root(root: str | Path) -> Path:
    """Return an absolute path unchanged, a relative one inside MATTING_DATA."""
    return Path(os.environ.get(ROOT_VARIABLE, DEFAULT_ROOT)) / Path(root).expanduser()


def read_names(path: Path) -> set[str]:
    """Stems in a text file, one per line, without # comments."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise FileError(f"{path}: list of names cannot be read ({reason(error)})") from error
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def list_images(folder: Path, recursive: bool = False) -> list[Path]:
    """Image files of a folder by name, without hidden ones."""
    if not folder.is_dir():
        raise FileError(
            f"{folder}: no such folder (relative ones are looked up in the folder that {ROOT_VARIABLE} names, "
            f"without it in {DEFAULT_ROOT}/)"
        )
    found = folder.rglob("*") if recursive else folder.iterdir()
    entries = sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))
    paths = [path for path in entries if path.suffix.lower() in IMAGE_SUFFIXES]
    others = [path for path in entries if path.suffix.lower() not in IMAGE_SUFFIXES and not path.is_dir()]
    warn_of_unread(folder, [path.relative_to(folder).as_posix() for path in others])
    if not paths:
        raise FileError(f"{folder}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return paths


def inspect_foregrounds(
    root: Path,
    colour_dir: str = "fg",
    alpha_dir: str | None = "alpha",
    patterns: Sequence[str] = ("*",),
) -> FolderReport:
    """Pair the files of a folder and read their headers."""
    report = FolderReport()

    def chosen(folder: Path) -> dict[str, Path]:
        stems = _by_stem(list_images(folder), report.problems)
        return {stem: path for stem, path in stems.items() if any(fnmatch(stem, pattern) for pattern in patterns)}

    colours = chosen(root / colour_dir)
    alphas = {} if alpha_dir is None else chosen(root / alpha_dir)
    if alpha_dir is not None:
        for stem in sorted(set(colours) - set(alphas)):
            report.problems.append(f"{colours[stem]}: has no alpha in {alpha_dir}/")
        for stem in sorted(set(alphas) - set(colours)):
            report.problems.append(f"{alphas[stem]}: has no foreground in {colour_dir}/")
    for stem, path in colours.items():
        if alpha_dir is not None and stem not in alphas:
            continue
        foreground = Foreground(stem, path, alphas.get(stem))
        try:
            size = image_size(path)
            if foreground.alpha is not None and (alpha_size := image_size(foreground.alpha)) != size:
                raise _unlike(foreground, alpha_size, size)
        except FileError as error:
            report.problems.append(str(error))
            continue
        report.foregrounds.append(foreground)
        report.sizes.append(size)
    return report


def _by_stem(paths: list[Path], problems: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            problems.append(f"{path}: {found[path.stem].name} has the same stem; pairs would be ambiguous")
        else:
            found[path.stem] = path
    return found


def _unlike(foreground: Foreground, alpha_size: tuple[int, int], colour_size: tuple[int, int]) -> FileError:
    """Sizes are (height, width) here and width x height in the message."""
    return FileError(
        f"{foreground.alpha}: alpha is {alpha_size[1]} x {alpha_size[0]} but its foreground {foreground.colour} is "
        f"{colour_size[1]} x {colour_size[0]}"
    )


def _too_small(path: Path, min_side_px: int) -> str | None:
    if min_side_px <= 0:
        return None
    try:
        height, width = image_size(path)
    except FileError as error:
        return str(error)
    small = min(height, width) < min_side_px
    return f"{path}: background is {width} x {height}, smaller than {min_side_px} pixels" if small else None


def _listing(problems: list[str], what: str) -> str:
    more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    return f"{len(problems)} {what}{'s' if len(problems) > 1 else ''}: " + "; ".join(problems[:NAMED]) + more
