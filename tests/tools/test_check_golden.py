import shutil
from pathlib import Path

import numpy as np
import pytest

from tools.check_golden import main
from tools.reference.golden.files import GOLDEN, read_arrays

NAME = "mematte_s_128x180_padquirk.npz"


def test_prints_every_quantity(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(GOLDEN / NAME)]) == 0
    printed = capsys.readouterr().out
    for quantity in ("alpha_whole", "alpha_tiled", "features_probe", "router_logp", "router_keep"):
        assert quantity in printed
    assert "DIFFERS" not in printed


def test_a_changed_value_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = read_arrays(GOLDEN / NAME)
    changed["alpha_whole"][3, 5] += 2e-5
    np.savez(tmp_path / NAME, **changed)
    assert main([str(tmp_path / NAME)]) == 1
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines() if "DIFFERS" in line] == ["alpha_whole"]


def test_a_term_that_is_not_stored_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = read_arrays(GOLDEN / "criterion.npz")
    arrays["b_other_loss"] = arrays.pop("b_known_l1_loss")
    np.savez(tmp_path / "criterion.npz", **arrays)
    assert main([str(tmp_path / "criterion.npz")]) == 1
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "DIFFERS" in line]
    assert lines == ["b_known_l1_loss", "b_other_loss"]


def test_scores_need_the_list_beside_their_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = shutil.copy(GOLDEN / "metrics_noise.npz", tmp_path)
    assert main([file]) == 2 and "metrics.json" in capsys.readouterr().err
    shutil.copy(GOLDEN / "metrics.json", tmp_path)
    assert main([file]) == 0
    renamed = shutil.copy(file, tmp_path / "metrics_renamed.npz")
    assert main([str(renamed)]) == 2 and "no case metrics_renamed.npz" in capsys.readouterr().err


def test_files_it_cannot_check_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "unheard_of.npz", a=1)
    assert main([str(tmp_path / "other.npz"), str(tmp_path / "unheard_of.npz"), str(tmp_path / "missing.npz")]) == 2
    errors = capsys.readouterr().err
    assert errors.count("cannot be checked") == 3
    assert "no check for this name" in errors
