"""Cache of decoded pictures: decoding costs more than everything else in training."""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np


class DecodedCache:
    """Recently used pictures, up to a number of bytes.

    Changes the speed only, never the result.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[tuple, tuple[np.ndarray, ...]] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple, decode: Callable[[], tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
        """Shared, read-only arrays of `decode()` for this key."""
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key]
        arrays = decode()
        for array in arrays:
            array.flags.writeable = False
        self._entries[key] = arrays
        self._bytes += _size(arrays)
        while self._bytes > self.max_bytes and self._entries:
            self._bytes -= _size(self._entries.popitem(last=False)[1])
        return arrays

    def __contains__(self, key: tuple) -> bool:
        return key in self._entries

    def __getstate__(self) -> dict:
        return {"max_bytes": self.max_bytes}  # a worker process starts with an empty cache

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)


def _size(arrays: tuple[np.ndarray, ...]) -> int:
    return sum(array.nbytes for array in arrays)
