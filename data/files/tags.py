"""Texts inside image files: chunks of PNG files, descriptions of TIFF files."""

import struct
import zlib

KEY = "mematte"  # keyword of the PNG text, attribute of the EXR header, first word of the TIFF description
PNG_HEADER_BYTES = 8 + 25  # signature and IHDR: any chunk may follow


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
