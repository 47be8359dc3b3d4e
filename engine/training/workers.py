"""Data-loading worker processes: signals meant for the run must not kill them before it has stopped."""

import signal
from collections.abc import Callable
from functools import partial
from types import FrameType

GRACE_SECONDS = 60  # for the main process to finish its step


def outlive_signals(then: Callable[[int], None] | None) -> Callable[[int], None]:
    """A `worker_init_fn` that keeps a worker at work after SIGINT, and for a while after SIGTERM; then calls `then`."""
    return partial(_initialise, then)


def _initialise(then: Callable[[int], None] | None, worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _die_later)
    if then is not None:
        then(worker)


def _die_later(number: int, frame: FrameType | None) -> None:
    signal.alarm(GRACE_SECONDS)
