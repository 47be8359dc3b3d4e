"""Threads sharing one predictor and budget get their own results."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from modeling import Predictor
from modeling.inference.budget import Limits
from modeling.inference.sharing import Ledger, ledger
from tests.modeling.inference.test_predictor import pair
from tests.modeling.small import small_mematte, small_vitmatte
from tests.modeling.test_diffmatte import small as small_diffmatte


def cost(limits: Limits) -> int:
    return 1000 + limits.chunk_tokens + (limits.max_tokens or 0)


def share(book: Ledger, budget: int, held: int = 0):
    return book.share(Limits(), cost, lambda: held, lambda: budget - held)


def test_what_runs_is_taken_off_the_budget() -> None:
    book = Ledger()
    alone = cost(Limits())
    with share(book, 2 * alone) as first, share(book, 2 * alone - 3000, held=alone) as second:
        assert first == Limits()
        assert second.max_tokens == Limits().max_tokens and second.chunk_tokens < Limits().chunk_tokens
    with share(book, alone) as third:
        assert third == Limits()


def test_it_waits_rather_than_lowering_the_cap() -> None:
    book, order, entered = Ledger(), [], threading.Event()

    def second() -> None:
        entered.set()
        with share(book, cost(Limits()) + 2000) as limits:
            order.append(("second", limits))

    with ThreadPoolExecutor(1) as pool:
        with share(book, cost(Limits()) + 2000):
            future = pool.submit(second)
            assert entered.wait(10)
            with pytest.raises(TimeoutError):
                future.result(timeout=0.2)
            order.append(("first", None))
        future.result(timeout=10)
    assert order == [("first", None), ("second", Limits())]


def test_what_never_fits_is_refused_at_once_and_leaves_nothing_behind() -> None:
    book = Ledger()
    with share(book, 10**6), pytest.raises(ValueError, match="allow more memory"), share(book, 900):
        pass
    with pytest.raises(KeyError), share(book, 10**6):
        raise KeyError
    with share(book, cost(Limits())) as limits:
        assert limits == Limits()
    assert ledger(torch.device("cpu")) is ledger(torch.device("cpu"))


def test_threads_get_what_each_would_get_alone() -> None:
    predictor = Predictor(small_mematte(), device="cpu", max_memory="64GB", max_tokens=9)
    inputs = [pair(40 + 7 * index, 90 - 5 * index) for index in range(6)]
    alone = [predictor.run(*both) for both in inputs]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda both: predictor.run(*both), inputs))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.alpha, other.alpha, atol=1e-6)
        assert all(np.array_equal(*maps) for maps in zip(one.keep, other.keep, strict=True))


@pytest.mark.parametrize("build", [small_mematte, small_vitmatte, small_diffmatte])
@pytest.mark.parametrize("tta", [False, True])
def test_progress_grows_to_one(build, tta: bool) -> None:
    shares: list[float] = []
    Predictor(build(), device="cpu", tta=tta).predict(*pair(48, 64), progress=shares.append)
    assert shares == sorted(shares) and 0 < shares[0] < 0.3 and shares[-1] == 1
    assert len(shares) > (32 if tta else 4)


def test_what_progress_raises_ends_the_prediction_and_no_other() -> None:
    predictor = Predictor(small_mematte(), device="cpu", max_memory="64GB")
    inputs = pair(48, 64)
    expected = predictor.predict(*inputs)

    def cancel(share: float) -> None:
        if share > 0.3:
            raise KeyError("cancelled")

    with pytest.raises(KeyError, match="cancelled"):
        predictor.predict(*inputs, progress=cancel)
    several: list[float] = []
    again = predictor.predict([inputs[0]] * 2, [inputs[1]] * 2, progress=several.append)
    assert np.array_equal(again[1], expected)
    assert several == sorted(several) and 0.5 in several and several[-1] == 1
