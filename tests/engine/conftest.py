"""Small networks train fastest on one thread."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="module")  # before the runs that tests of a module share
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
