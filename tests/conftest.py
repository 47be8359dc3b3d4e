"""Shared set-up: fixed seeds, limited threads, CUDA tests only with a device."""

import os
import random
from collections.abc import Iterator

import hypothesis
import numpy as np
import pytest
import torch

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    """Divide the cores among the workers.

    They inherit the variable, and so do the commands that tests start.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        workers = getattr(config.option, "numprocesses", None) or 1
        threads = max((os.cpu_count() or 1) // workers, 1)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("soak") is None)  # the longest first: no worker waits for it
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="torch.cuda.is_available() is False on this machine")
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def same_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Undo the changes that commands with `--threads` make.

    Also those of commands that a fixture shared by a module runs: it is set up before any fixture of a test.
    """
    threads = 1 if "one_thread" in request.fixturenames else int(os.environ["OMP_NUM_THREADS"])
    torch.set_num_threads(threads)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (libraries under test may still draw from the global generator)
    torch.manual_seed(0)
