"""One memory budget for all predictions of a process, across threads."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from .budget import Limits, fit


class Ledger:
    """Memory reserved by the running predictions on one device.

    A prediction that does not fit beside the running ones, even in smaller pieces, waits until one of them ends. Its
    token cap, which changes the result, is that of a prediction alone, so that results do not depend on other threads.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reserved: list[int] = []
        self._base = 0  # held while nothing runs

    @contextmanager
    def share(
        self, limits: Limits, cost: Callable[[Limits], int], held: Callable[[], int], available: Callable[[], int]
    ) -> Iterator[Limits]:
        """Bounds for one prediction, within the budget until the context is left.

        Args:
            limits: where to start.
            cost: bytes that the prediction takes within given limits.
            held: bytes that the process holds now.
            available: bytes that it may take in addition.

        Raises:
            ValueError: it does not fit, even alone.
        """
        with self._changed:
            while (chosen := self._fitting(limits, cost, held(), available())) is None:
                self._changed.wait()
            size = cost(chosen)
            self._reserved.append(size)
        try:
            yield chosen
        finally:
            with self._changed:
                self._reserved.remove(size)
                self._changed.notify_all()

    def expected(self) -> int:
        """Peak memory of the process in bytes, all reservations included."""
        with self._changed:
            return self._base + sum(self._reserved)

    def _fitting(self, limits: Limits, cost: Callable[[Limits], int], held: int, available: int) -> Limits | None:
        """Bounds beside the running predictions; None means wait for one to end."""
        if not self._reserved:
            self._base = held
        left = held + available - self._base
        try:
            alone = fit(limits, cost, left)
        except ValueError as error:
            holding = f"the process itself holds {self._base / 1e9:.2f} GB (network and libraries)"
            raise ValueError(f"{error}; {holding}") from None
        if not self._reserved:
            return alone
        try:
            beside = fit(replace(limits, max_tokens=alone.max_tokens), cost, left - sum(self._reserved))
        except ValueError:
            return None
        return beside if beside.max_tokens == alone.max_tokens else None


_LEDGERS: dict[str, Ledger] = {}
_LOCK = threading.Lock()


def ledger(device: torch.device) -> Ledger:
    """The ledger of a device in this process."""
    with _LOCK:
        return _LEDGERS.setdefault(str(device), Ledger())
