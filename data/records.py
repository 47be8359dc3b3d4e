"""Records in image files of the settings and inputs, for resuming."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import OpenEXR
from PIL import TiffImagePlugin

from .files.decoding import decode
from .files.guard import FileError, check_file
from .files.tags import KEY

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIECE = 2**20  # bytes
_LONGEST = 2**16  # bytes of a record
_MOST_CHUNKS = 64  # of a PNG file to look at; the record is the second
_DESCRIPTION_TAG = 270


def fingerprint(contents: Iterable[bytes | np.ndarray]) -> str:
    """Digest of files' contents and of arrays (shapes included)."""
    digest = hashlib.blake2b(digest_size=16)
    for content in contents:
        if isinstance(content, np.ndarray):
            digest.update(repr((content.shape, content.dtype.str)).encode())
            content = np.ascontiguousarray(content).data.cast("B")
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


def fingerprint_file(path: str | Path) -> str:
    """Fingerprint of the content of one file, which is read in pieces."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        digest.update(os.fstat(file.fileno()).st_size.to_bytes(8, "little"))
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def read_record(path: str | Path) -> str:
    """Record of a PNG, TIFF or EXR file; empty if none."""
    path = Path(path)
    try:
        check_file(path)
        reader = {".png": _of_png, ".tif": _of_tiff, ".tiff": _of_tiff, ".exr": _of_exr}.get(path.suffix.lower())
        return reader(path) if reader else ""
    except Exception:  # damaged files raise many types; none of them was finished by this project
        return ""


def record_kind(record: str) -> str:
    """Kind of output that a record names; empty where it is none."""
    try:
        return str(json.loads(record)["kind"])
    except (ValueError, KeyError, TypeError):
        return ""


def is_whole(path: Path) -> bool:
    """True if a colour file decodes to its end."""
    try:
        if path.suffix.lower() != ".exr":
            decode(path)
            return True
        with OpenEXR.File(str(path)) as file:
            return bool(file.channels())
    except (FileError, OSError, RuntimeError, ValueError):
        return False


def refuse_foreign(outputs: Iterable[Path]) -> None:
    """Refuse to overwrite pictures that no earlier run wrote.

    Where one of the files has a record, the place is this project's own: what is damaged there is made again.

    Raises:
        FileError: whole pictures lie there, and none of the files has a record.
    """
    present = [path for path in outputs if path.is_file()]
    if any(map(read_record, present)):
        return
    for path in present:
        if is_whole(path):
            raise FileError(f"{path}: is a picture that no earlier run wrote; choose another output, or move it away")


def _of_png(path: Path) -> str:
    with open(path, "rb") as file:
        if file.read(8) != _SIGNATURE:
            return ""
        for _ in range(_MOST_CHUNKS):
            header = file.read(8)
            kind = header[4:]
            if len(header) < 8 or kind == b"IDAT":
                break
            length = int.from_bytes(header[:4], "big")
            if kind == b"tEXt" and length <= _LONGEST:
                key, _, text = file.read(length).partition(b"\0")
                if key == KEY.encode():
                    return text.decode("ascii")
            else:
                file.seek(length, 1)
            file.seek(4, 1)  # the checksum
    return ""


def _of_tiff(path: Path) -> str:
    with open(path, "rb") as file:
        key, _, record = TiffImagePlugin.TiffImageFile(file).tag_v2.get(_DESCRIPTION_TAG, "").partition(" ")
    return record if key == KEY else ""


def _of_exr(path: Path) -> str:
    with OpenEXR.File(str(path), header_only=True) as file:
        return str(file.header().get(KEY, ""))
