"""Checkpoint of a small network, and a folder to matte."""

import pytest

from tests.inference.commands import LAYOUTS, TINY, save_checkpoint, write_dataset


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny.pth", TINY)


@pytest.fixture
def dataset(tmp_path):
    write_dataset(tmp_path / "data", LAYOUTS["photos"])
    return tmp_path / "data"
