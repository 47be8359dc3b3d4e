from pathlib import Path

import numpy as np
import pytest

from tests.conftest import GOLDEN
from tools.check_golden import main

NAME = "mematte_s_128x180_padquirk.npz"


def test_prints_every_quantity(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(GOLDEN / NAME)]) == 0
    printed = capsys.readouterr().out
    for quantity in ("alpha_whole", "alpha_tiled", "features_probe", "router_logp", "router_keep"):
        assert quantity in printed
    assert "DIFFERS" not in printed


def test_a_changed_value_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(GOLDEN / NAME) as arrays:
        changed = dict(arrays)
    changed["alpha_whole"][3, 5] += 2e-5
    np.savez(tmp_path / NAME, **changed)
    assert main([str(tmp_path / NAME)]) == 1
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines() if "DIFFERS" in line] == ["alpha_whole"]


def test_files_it_cannot_check_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "unheard_of.npz", a=1)
    assert main([str(tmp_path / "other.npz"), str(tmp_path / "unheard_of.npz"), str(tmp_path / "missing.npz")]) == 2
    errors = capsys.readouterr().err
    assert errors.count("cannot be checked") == 3
    assert "no check for this name" in errors
