"""Strips of rows of a token grid, so that wide intermediate results stay small."""

from collections.abc import Iterator
from typing import NamedTuple


class Strip(NamedTuple):
    """Rows `start:stop` of a grid and the rows `first:last` that they depend on."""

    start: int
    stop: int
    first: int
    last: int


def row_strips(height: int, rows: int, halo: int = 0) -> Iterator[Strip]:
    """Cut `height` rows into strips of `rows` rows, each with up to `halo` more rows above and below."""
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        yield Strip(start, stop, max(start - halo, 0), min(stop + halo, height))


def rows_within(width: int, chunk_tokens: int, multiple: int = 1) -> int:
    """Rows of `width` tokens that fit into `chunk_tokens`: a multiple of `multiple`, at least one of it."""
    return max(chunk_tokens // max(width * multiple, 1), 1) * multiple
