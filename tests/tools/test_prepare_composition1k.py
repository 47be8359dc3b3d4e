from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.prepare_composition1k import main


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    for folder, names, shape in (
        ("fg", ["a.png", "b.png"], (6, 5, 3)),
        ("alpha", ["a.png", "b.png"], (6, 5)),
        ("bg", ["v0.jpg", "v1.jpg", "v2.jpg", "v3.jpg"], (4, 9, 3)),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / folder / name)
    (tmp_path / "fg.txt").write_text("a.png\nb.png\n\n")
    (tmp_path / "bg.txt").write_text("v0.jpg\nv1.jpg\nv2.jpg\nv3.jpg\n")
    options = {
        "--foregrounds": "fg",
        "--alphas": "alpha",
        "--backgrounds": "bg",
        "--foreground-list": "fg.txt",
        "--background-list": "bg.txt",
        "--output": "out",
    }
    return [*(str(part) for key, value in options.items() for part in (key, tmp_path / value)), "--each", "2"]


def test_makes_all_with_processes(arguments, tmp_path):
    assert main([*arguments, "--workers", "2"]) == 0
    for folder in ("merged", "alpha_copy"):
        assert sorted(path.name for path in (tmp_path / "out" / folder).iterdir()) == [
            "a_0.png",
            "a_1.png",
            "b_0.png",
            "b_1.png",
        ]
    assert not (tmp_path / "out" / "trimaps").exists()


def test_one_line_a_failure_and_exit_code_1(arguments, tmp_path, caplog):
    (tmp_path / "bg" / "v2.jpg").write_bytes(b"no image")
    (tmp_path / "alpha" / "a.png").unlink()
    assert main([*arguments, "--workers", "1"]) == 1
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 2
    assert "a.png" in errors[0] and "v2.jpg" in errors[1]
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.png")) == ["b_1.png", "b_1.png"]


def test_wrong_lists_make_nothing_and_exit_with_2(arguments, tmp_path, caplog):
    (tmp_path / "bg.txt").write_text("v0.jpg\n")
    assert main(arguments) == 2
    assert len(caplog.records) == 1
    assert not (tmp_path / "out").exists()
    (tmp_path / "fg.txt").unlink()
    assert main(arguments) == 2
