"""Bounds on intermediate results, by a cost model and a memory budget."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
ENCODED = 0.5  # share of a run that ends with the encoder
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SMALLEST_CHUNK, _SMALLEST_TILE = 256, 160 * 160


@dataclass(frozen=True)
class Limits:
    """Bounds of one inference run; only `max_tokens` changes the result.

    Attributes:
        max_tokens: most tokens that one routed block of one image sends to global attention (None: no cap); which
            ones, `backbone.routing.decide` says.
        chunk_tokens: tokens that token-wise layers and windows work on at once.
        tile_px: most pixels that one decoder tile holds, its halo included.
        on_progress: called now and then with the share of the run that is done; what it raises ends the run.
    """

    max_tokens: int | None = 18500
    chunk_tokens: int = 4096
    tile_px: int = 512 * 512
    on_progress: Callable[[float], object] | None = field(default=None, compare=False, repr=False)

    def report(self, share: float) -> None:
        """Report the share of the run that is done."""
        if self.on_progress is not None:
            self.on_progress(share)

    def watch(self, items: Sequence[Item], first: float, last: float) -> Iterator[Item]:
        """Iterate and report progress, from share `first` to `last` of the run."""
        for index, item in enumerate(items, 1):
            yield item
            self.report(first + (last - first) * index / len(items))

    def halved(self) -> "Limits":
        """Half the working set; the cap, which changes results, stays."""
        return replace(
            self, chunk_tokens=max(self.chunk_tokens // 2, 1), tile_px=max(self.tile_px // 2, _SMALLEST_TILE)
        )

    def __str__(self) -> str:
        cap = "no token cap" if self.max_tokens is None else f"at most {self.max_tokens} tokens"
        return f"{cap}, chunks of {self.chunk_tokens} tokens, tiles of {self.tile_px / 1e6:.2f} megapixels"


def parse_memory(text: str) -> int:
    """Bytes from text such as "4GB", "1.5 GiB", "800MB".

    Raises:
        ValueError: not a positive amount of memory.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text, re.IGNORECASE)
    if not match or match[2].upper() not in _UNITS or not float(match[1]):
        raise ValueError(f"{text!r} is not an amount of memory: write for example 4GB, 1.5GiB or 800MB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def fit(limits: Limits, cost: Callable[[Limits], int], available: int) -> Limits:
    """The largest working set within `limits` whose cost fits into `available` bytes.

    Chunks and tiles shrink first, since they cost only a little time; the token cap, which changes the result, last.

    Args:
        limits: where to start.
        cost: bytes that a run within given limits takes, from the network's cost model.
        available: bytes.

    Raises:
        ValueError: even the smallest working set does not fit.
    """
    chosen = limits
    while cost(chosen) > available:
        smaller = _smaller(chosen, cost)
        if smaller is None:
            needed, left = cost(chosen) / 1e9, max(available, 0) / 1e9
            raise ValueError(f"needs about {needed:.2f} GB where {left:.2f} GB are left: allow more memory")
        chosen = smaller
    return chosen


def _smaller(limits: Limits, cost: Callable[[Limits], int]) -> Limits | None:
    """`limits` with the one bound halved that saves most."""
    options = []
    if limits.chunk_tokens > _SMALLEST_CHUNK:
        options.append(replace(limits, chunk_tokens=limits.chunk_tokens // 2))
    if limits.tile_px > _SMALLEST_TILE:
        options.append(replace(limits, tile_px=max(limits.tile_px // 2, _SMALLEST_TILE)))
    saving = [option for option in options if cost(option) < cost(limits)]
    if saving:
        return min(saving, key=cost)
    if limits.max_tokens is not None and limits.max_tokens > 0:
        return replace(limits, max_tokens=limits.max_tokens // 2)
    return None
