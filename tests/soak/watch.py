"""Small cases in a child process that may crash, hang or overeat.

Says what became of each.
"""

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2

HANG_SECONDS = 10  # of processor time, which other programs of the machine do not change
SILENCE_SECONDS = 60  # of the clock, for cases that wait for something
BUDGET_BYTES = 2 << 30  # what a case may add to the memory of the process
_STATUS, _PEAK_RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Outcome:
    """Outcome of a case.

    Attributes:
        kind: "result", "refused" (one clear line), or what must not happen: "crash", "hang", "memory", "unclear".
        text: the line, or what is known of the fault.
        seconds: processor time that it took.
        peak: bytes that it added to the process.
    """

    kind: str
    text: str = ""
    seconds: float = 0.0
    peak: int = 0


@dataclass
class Tally:
    """Outcomes of a set of cases."""

    name: str
    counts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    peak: int = 0

    def add(self, case: str, outcome: Outcome) -> None:
        self.counts[outcome.kind] = self.counts.get(outcome.kind, 0) + 1
        self.slowest, self.peak = max(self.slowest, outcome.seconds), max(self.peak, outcome.peak)
        if outcome.kind not in ("result", "refused"):
            self.faults.append(f"{self.name} {case}: {outcome.kind}: {outcome.text}")

    def merge(self, other: "Tally") -> None:
        for kind, count in other.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
        self.slowest, self.peak = max(self.slowest, other.slowest), max(self.peak, other.peak)
        self.faults += other.faults

    @property
    def cases(self) -> int:
        return sum(self.counts.values())


def watched(name: str, cases: Sequence[int], work: Callable[[int], str], setup: Callable[[], None]) -> Tally:
    """Run `work(case)` for all cases in a replaceable child process.

    A new one starts after each that had to be ended.

    `work` returns what it made, or raises ValueError with the line that a user would get; anything else is a fault.

    Args:
        setup: called once in each child, before its first case.
    """
    tally, context, waiting = Tally(name), multiprocessing.get_context("fork"), list(cases)
    while waiting:
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(sender, waiting, work, setup))
        child.start()
        sender.close()
        while waiting:
            outcome = _next(receiver, child)
            tally.add(str(waiting.pop(0)), outcome)
            if outcome.kind == "hang" or (not child.is_alive() and not receiver.poll()):
                break
        child.kill()
        child.join()
        receiver.close()
    return tally


def _next(receiver: Connection, child: multiprocessing.Process) -> Outcome:
    if not receiver.poll(SILENCE_SECONDS * (1 + (not getattr(child, "begun", False)))):  # the first waits for the setup
        return Outcome("hang", f"no answer within {SILENCE_SECONDS} s", HANG_SECONDS)
    child.begun = True
    try:
        return receiver.recv()
    except EOFError:
        child.join()
        return Outcome("crash", f"the process died (exit code {child.exitcode})")


def _child(sender: Connection, cases: Sequence[int], work: Callable[[int], str], setup: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # libtiff and OpenCV write to the terminal themselves
        os.dup2(silence, stream)
    logging.raiseExceptions = False
    cv2.setNumThreads(1)  # threads do not survive a fork
    setup()
    for case in cases:
        sender.send(attempt(work, case))
    sender.close()
    os._exit(0)  # without the atexit handlers of whoever forked this process


def attempt(work: Callable[[Any], str], case: Any) -> Outcome:
    """Do one case here and judge how it ended."""
    held, start = _reset_peak(), time.process_time()
    try:
        outcome = Outcome("result", work(case))
    except ValueError as error:
        outcome = Outcome("refused", str(error))
        if not is_clear(outcome.text):
            outcome.kind = "unclear"
    except BaseException as error:
        outcome = Outcome("crash", f"{type(error).__name__}: {error}"[:400])
    outcome.seconds, outcome.peak = time.process_time() - start, max(_status("VmHWM") - held, 0)
    if outcome.kind in ("result", "refused"):
        if outcome.seconds > HANG_SECONDS:
            outcome.kind = "hang"
        elif outcome.peak > BUDGET_BYTES:
            outcome.kind = "memory"
            outcome.text = f"{outcome.peak / 2**20:.0f} MiB more; {outcome.text}"
    return outcome


def is_clear(line: str) -> bool:
    """One line of text that a terminal shows as it is."""
    return 8 <= len(line) <= 4000 and line.isprintable()


def _reset_peak() -> int:
    """Bytes that the process holds; its peak counts from here on."""
    try:
        _PEAK_RESET.write_text("5")
    except OSError:
        pass  # then peaks are those of the process so far, which is stricter
    return _status("VmRSS")


def _status(name: str) -> int:
    return int(_STATUS.read_text().split(f"{name}:")[1].split()[0]) * 1024
