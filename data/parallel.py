"""Parallel map over all cores with one outcome per item, failures included."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import cv2

from data.files import reason

Item = TypeVar("Item")


def outcomes(
    work: Callable[[Item], Any], items: Sequence[Item], workers: int, prepare: Callable[[], None] | None = None
) -> Iterator[tuple[Item, Any, str]]:
    """Yield (item, result, "") or (item, None, what is wrong) as items are finished.

    `work` and the items are sent to other processes; a `ValueError` or `OSError` counts as the item's own failure.

    Args:
        prepare: called in each further process, for example to set up its logging.
    """
    if workers <= 1 or len(items) <= 1:
        yield from ((item, *_attempt(work, item)) for item in items)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(items)), context, _prepare, (prepare,)) as pool:
        futures = {pool.submit(_attempt, work, item): item for item in items}
        for future in as_completed(futures):
            try:
                yield futures[future], *future.result()
            except BrokenProcessPool:
                yield futures[future], None, "a worker process was killed, most likely for lack of memory"


def _attempt(work: Callable[[Item], Any], item: Item) -> tuple[Any, str]:
    try:
        return work(item), ""
    except (ValueError, OSError, MemoryError, cv2.error) as error:
        return None, reason(error)


def _prepare(further: Callable[[], None] | None) -> None:
    cv2.setNumThreads(1)
    if further is not None:
        further()
