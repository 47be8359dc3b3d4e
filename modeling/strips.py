"""Strips of token rows, which keep wide intermediate results small."""

from collections.abc import Iterator
from typing import NamedTuple


class Strip(NamedTuple):
    """Rows `start:stop` of a grid, and their context `first:last`."""

    start: int
    stop: int
    first: int
    last: int


def row_strips(height: int, rows: int, halo: int = 0) -> Iterator[Strip]:
    """Strips of `rows` rows, each with up to `halo` context rows."""
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        yield Strip(start, stop, max(start - halo, 0), min(stop + halo, height))


def rows_within(width: int, chunk_tokens: int, multiple: int = 1) -> int:
    """Rows of `width` tokens within `chunk_tokens`, a positive multiple of `multiple`."""
    return max(chunk_tokens // max(width * multiple, 1), 1) * multiple
