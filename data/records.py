"""Records inside image files: the settings and inputs that a file was made of, for resumed runs."""

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import OpenEXR
from PIL import TiffImagePlugin

KEY = "mematte"  # keyword of the PNG text, attribute of the EXR header, first word of the TIFF description
PNG_HEADER_BYTES = 8 + 25  # signature and IHDR: what follows may be anything
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LONGEST = 2**16  # bytes of a record
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


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with_record(data: bytes, record: str) -> bytes:
    """The same PNG file with a record; without one, the same bytes."""
    if not record:
        return data
    text = png_chunk(b"tEXt", KEY.encode() + b"\0" + record.encode("ascii"))
    return data[:PNG_HEADER_BYTES] + text + data[PNG_HEADER_BYTES:]


def tiff_description(record: str) -> str | None:
    """Image description of a TIFF file with this record."""
    return f"{KEY} {record}" if record else None


def read_record(path: str | Path) -> str:
    """Record of a PNG, TIFF or EXR file; empty where there is none, or no such file."""
    path = Path(path)
    try:
        if not path.is_file():
            return ""
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


def _of_png(path: Path) -> str:
    with open(path, "rb") as file:
        if file.read(8) != _SIGNATURE:
            return ""
        while (header := file.read(8)) and (kind := header[4:]) != b"IDAT":
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
