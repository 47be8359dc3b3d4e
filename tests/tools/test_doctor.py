import importlib.metadata
import importlib.util

import pytest

from tools import doctor


def test_it_names_versions_device_memory_and_a_golden(capsys):
    assert doctor.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok ") for line in lines)
    told = {line.removeprefix("ok ").split(":")[0].strip() for line in lines}
    assert {"python", "torch", "detectron2", "cpu", "free memory", "mematte_s_128x180_padquirk"} <= told


@pytest.mark.parametrize(
    ("name", "expected"), [("sal-detectron2", "the wheel sal-detectron2 1.0"), ("detectron2", "the official build 1.0")]
)
def test_it_tells_the_wheel_from_the_official_build(monkeypatch, name, expected):
    monkeypatch.setattr(doctor, "version", lambda package: "1.0" if package == name else None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: True)
    told, well = doctor.detectron2()
    assert told.startswith(f"{expected}, with compiled operators") and well


def test_what_is_missing_or_differs_is_bad(monkeypatch, capsys, tmp_path):
    def missing(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(doctor, "GOLDEN", tmp_path / "mematte_none.npz")
    assert doctor.main([]) == 1
    text = capsys.readouterr().out
    assert "BAD torch: missing: install requirements.txt" in text
    assert "BAD mematte_none.npz: cannot be computed" in text
