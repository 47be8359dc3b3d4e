"""Dataset folders: layouts and the files that belong together."""

import logging
import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data.files import HEIC_SUFFIXES, IMAGE_SUFFIXES, FileError, real_path
from data.records import read_record, record_kind

logger = logging.getLogger(__name__)

NAMED = 5  # files that a message names
_OF_FILE_MANAGERS = ("Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Pair:
    """One image and the files that belong to it.

    Attributes:
        name: path inside the image folder without suffix, with forward slashes ("a", "sub/a").
        problem: why the pair cannot be used (no trimap, two files of one name); empty where all is well.
        mask: source of the trimap where there is none.
    """

    name: str
    image: Path
    trimap: Path | None
    alpha: Path | None = None
    problem: str = ""
    mask: Path | None = None


@dataclass(frozen=True)
class Layout:
    """Folder names of a dataset.

    Of several names for images or trimaps exactly one may exist.
    """

    name: str
    image: tuple[str, ...]
    trimap: tuple[str, ...]
    alpha: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} ({'|'.join(self.image)}/ + {'|'.join(self.trimap)}/)"


LAYOUTS = (
    Layout("Composition-1k", ("merged",), ("trimaps",), ("alpha_copy", "alpha")),
    Layout("AIM-500", ("original",), ("trimap",), ("mask",)),
    Layout("P3M", ("blurred_image", "original_image"), ("trimap",), ("mask",)),
    Layout("Transparent-460", ("fg",), ("trimap", "trimaps"), ("alpha",)),
    Layout("plain", ("image", "images"), ("trimap", "trimaps"), ("alpha", "alphas")),
)


def find_pairs(root: str | Path, results: Path | None = None) -> list[Pair]:
    """Pair the images of a dataset folder with their trimaps and alphas.

    The layout follows from the folders that root contains, never from how its path is spelt. Files belong together when
    their paths inside their folders agree up to the suffix; sub-folders are entered. Hidden files and files that are no
    images by suffix are left out.

    Args:
        results: folder of the outputs, which are no images (see `photographs_by_name`).

    Returns:
        one pair per image name, sorted by name; pairs that cannot be used carry the reason in `problem`.

    Raises:
        FileError: no folder, no known layout, or no image in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileError(f"{root}: is not a folder")
    layout, image_folder, trimap_folder = _recognise(root)
    trimaps = images_by_name(trimap_folder)
    images = photographs_by_name(image_folder, trimaps.keys(), results)
    alpha_folder = next((root / name for name in layout.alpha if (root / name).is_dir()), None)
    alphas = images_by_name(alpha_folder) if alpha_folder else {}
    if not images:
        raise FileError(f"{image_folder}: holds no images ({', '.join(IMAGE_SUFFIXES)})")
    if unused := sorted(trimaps.keys() - images.keys()):
        logger.warning("%s: %d trimaps have no image, for example %s", trimap_folder, len(unused), unused[0])
    return [
        _pair(name, images[name], trimaps.get(name, []), alphas.get(name, []), trimap_folder) for name in sorted(images)
    ]


def find_masked(root: str | Path, mask_folder: str | Path, results: Path | None = None) -> list[Pair]:
    """Pairs of images and masks below `root`.

    Images are those of its image folder (as in `find_pairs`) or, without one, of `root` itself.

    Args:
        results: as in `find_pairs`.

    Raises:
        FileError: no folder, or no image in it.
    """
    image_folder, mask_folder = _image_folder(Path(root)), Path(mask_folder)
    if not mask_folder.is_dir():
        raise FileError(f"{mask_folder}: is not a folder")
    masks = images_by_name(mask_folder)
    images = photographs_by_name(image_folder, masks.keys(), results)
    inside = {real_path(path) for paths in masks.values() for path in paths}
    images = {name: paths for name, paths in images.items() if real_path(paths[0]) not in inside}
    if not images:
        raise FileError(f"{image_folder}: holds no images ({', '.join(IMAGE_SUFFIXES)})")
    pairs = [_pair(name, images[name], masks.get(name, []), [], mask_folder, "mask") for name in sorted(images)]
    return [replace(pair, trimap=None, mask=pair.trimap) for pair in pairs]


def find_images(root: str | Path, results: Path | None = None) -> list[Pair]:
    """Images without trimaps below `root`.

    Those of its image folder (as in `find_pairs`) or, without one, of `root` itself.

    Raises:
        FileError: no folder, or no image in it.
    """
    folder = _image_folder(Path(root))
    images = photographs_by_name(folder, (), results)
    if not images:
        raise FileError(f"{folder}: holds no images ({', '.join(IMAGE_SUFFIXES)})")
    pairs = [_pair(name, images[name], images[name][:1], [], folder) for name in sorted(images)]
    return [replace(pair, trimap=None) for pair in pairs]


def _image_folder(root: Path) -> Path:
    """The one folder of a known layout that holds images, else root."""
    if not root.is_dir():
        raise FileError(f"{root}: is not a folder")
    named = [root / name for layout in LAYOUTS for name in layout.image if (root / name).is_dir()]
    return named[0] if len(named) == 1 else root


def _recognise(root: Path) -> tuple[Layout, Path, Path]:
    """The layout of root with its image and trimap folder."""
    found = [
        (layout, root / image, root / trimap)
        for layout in LAYOUTS
        for image in layout.image
        for trimap in layout.trimap
        if (root / image).is_dir() and (root / trimap).is_dir()
    ]
    if len(found) == 1:
        return found[0]
    accepted = "; ".join(map(str, LAYOUTS))
    if found:
        names = ", ".join(f"{image.name}/ + {trimap.name}/" for _, image, trimap in found)
        raise FileError(f"{root}: holds several layouts ({names}); leave one of: {accepted}")
    loose = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in root.iterdir() if not path.name.startswith("."))
    if loose:
        raise FileError(
            f"{root}: holds {loose} images but no trimaps, which say where the objects are; give masks named like the "
            f"images (--mask DIR), or lay it out as one of: {accepted}"
        )
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir() if not entry.name.startswith("."))
    content = ", ".join(entries[:8]) + ", ..." * (len(entries) > 8) if entries else "nothing"
    raise FileError(f"{root}: is no dataset folder; it must hold one of: {accepted}; found: {content}")


def images_by_name(folder: Path) -> dict[str, list[Path]]:
    """Image files below a folder, by relative path without suffix.

    Others are counted in a warning, hidden ones not.
    """
    files, others = defaultdict(list), []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if name.startswith("."):
                continue
            if path.suffix.lower() in IMAGE_SUFFIXES:
                files[path.relative_to(folder).with_suffix("").as_posix()].append(path)
            elif is_unread(path):
                others.append(path.relative_to(folder).as_posix())
    warn_of_unread(folder, others)
    return {name: sorted(paths) for name, paths in files.items()}


def photographs_by_name(folder: Path, partners: Collection[str], results: Path | None) -> dict[str, list[Path]]:
    """As `images_by_name`, without what this project wrote there before (by the records in its files).

    A cut-out or composite outside `results` that has a partner, and no photograph of its name beside it, stays.

    Args:
        partners: names of trimaps or masks.
        results: folder of the outputs.
    """
    own, found = real_path(results) if results else None, {}
    for name, paths in images_by_name(folder).items():
        kinds = {path: record_kind(read_record(path)) for path in paths}
        photographs = [path for path in paths if not kinds[path]]
        if not photographs and name in partners:
            outside = [path for path in paths if not (own and Path(real_path(path)).is_relative_to(own))]
            photographs = [path for path in outside if kinds[path] in ("rgba", "foreground", "composite")]
        if photographs:
            found[name] = photographs
    return found


def is_unread(path: Path) -> bool:
    """True for files of unread kinds that this project did not write."""
    return path.suffix.lower() not in IMAGE_SUFFIXES and not read_record(path)


def warn_of_unread(folder: Path, names: Sequence[str]) -> None:
    """Warn once of unread files in an image folder."""
    names = [name for name in names if Path(name).name not in _OF_FILE_MANAGERS]
    if not names:
        return
    shown = ", ".join(sorted(names)[:NAMED]) + ", ..." * (len(names) > NAMED)
    heic = any(name.lower().endswith(HEIC_SUFFIXES) for name in names)
    hint = " (pip install pillow-heif makes HEIC readable)" if heic else ""
    count = "1 file is" if len(names) == 1 else f"{len(names)} files are"
    logger.warning("%s: %s not read, being no %s: %s%s", folder, count, "/".join(IMAGE_SUFFIXES), shown, hint)


def _pair(
    name: str, images: list[Path], trimaps: list[Path], alphas: list[Path], trimap_folder: Path, what: str = "trimap"
) -> Pair:
    problem = ""
    if len(images) > 1:
        problem = f"several images of one name ({_names(images)}); rename or remove all but one"
    elif not trimaps:
        problem = f"no {what}; expected {trimap_folder / name} with any of {', '.join(IMAGE_SUFFIXES)}"
    elif len(trimaps) > 1:
        problem = f"several {what}s of one name ({_names(trimaps)}); rename or remove all but one"
    trimap = trimaps[0] if len(trimaps) == 1 else None
    alpha = alphas[0] if len(alphas) == 1 else None
    return Pair(name, images[0], trimap, alpha, problem)


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths)
