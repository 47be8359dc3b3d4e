"""Data-loading workers that survive the signals which end a run.

A signal must not end them before the run has stopped.
"""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import RawValue
from types import FrameType

GRACE_SECONDS = 60.0  # for the main process to finish its step
_CHECK_SECONDS = 0.2

Initialiser = Callable[[int], None]


class WorkerSignals:
    """Signal handling of workers, which outlive the run's end for a while.

    They ignore Ctrl-C, SIGTERM and SIGHUP until the run has ended.
    """

    def __init__(self) -> None:
        self._ended = RawValue(ctypes.c_bool, False)  # shared with the workers

    def end(self) -> None:
        """Let workers die at once from now on."""
        self._ended.value = True

    def initialiser(self, then: Initialiser | None) -> Initialiser:
        """Return a `worker_init_fn` that sets up the signals, then calls `then`."""
        return partial(_initialise, self._ended, then)


def _initialise(ended: ctypes.c_bool, then: Initialiser | None, worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, partial(_die_later, ended))
    if then is not None:
        then(worker)


def _die_later(ended: ctypes.c_bool, number: int, frame: FrameType | None) -> None:
    if ended.value:
        os._exit(0)
    deadline = time.monotonic() + GRACE_SECONDS

    def check(number: int, frame: FrameType | None) -> None:
        if ended.value or time.monotonic() > deadline:
            os._exit(0)

    signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, _CHECK_SECONDS, _CHECK_SECONDS)
