"""Installer without a network: pip finds a small wheel of the test."""

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from tools import install_detectron2

FILES = {
    "detectron2/__init__.py": "__version__ = 'made by the test'\n",
    "detectron2/config.py": "",
    "detectron2/engine.py": "",
    "detectron2/_C.cpython-310-x86_64-linux-gnu.so": "built for another torch",
    "tools/__init__.py": "",
}


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Wheel under the real one's name, with the expected hash.

    It is the only one that pip can see.
    """
    info = "sal_detectron2-0.7.2.dist-info"
    files = dict(FILES)
    files[f"{info}/METADATA"] = "Metadata-Version: 2.1\nName: sal-detectron2\nVersion: 0.7.2\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: cp310-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{file},{record_hash(text)},{len(text)}\n" for file, text in files.items())
    folder = tmp_path / "wheels"
    folder.mkdir()
    path = folder / "sal_detectron2-0.7.2-cp310-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    monkeypatch.setattr(install_detectron2, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def record_hash(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder in place of site-packages, first on the probe's path."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(install_detectron2.sysconfig, "get_path", lambda _: str(folder))
    return folder


def test_accepts_a_detectron2_that_is_there(
    site_packages: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (site_packages / "detectron2").mkdir()
    for file in ("__init__", "config", "engine"):
        (site_packages / "detectron2" / f"{file}.py").write_text("__version__ = 'own build'\n")
    monkeypatch.setattr(install_detectron2, "install", lambda _: pytest.fail("it must not install anything"))
    assert install_detectron2.main([]) == 0
    assert capsys.readouterr().out == f"detectron2 own build {site_packages / 'detectron2'}: already there\n"


@pytest.mark.parametrize("partial", ["", "import no_such_module", "import os; os.abort()"])
def test_replaces_a_partial_installation(
    wheel: Path, site_packages: Path, partial: str, capsys: pytest.CaptureFixture
) -> None:
    (site_packages / "detectron2").mkdir()
    (site_packages / "detectron2" / "__init__.py").write_text(partial)
    (site_packages / "tools").mkdir()
    (site_packages / "tools" / "mine.py").write_text("")
    assert install_detectron2.main([]) == 0
    assert "made by the test" in capsys.readouterr().out
    left = sorted(path.name for path in site_packages.iterdir())
    assert left == ["detectron2", "sal_detectron2-0.7.2.dist-info", "tools"]
    assert [path.name for path in (site_packages / "tools").iterdir()] == ["mine.py"]
    assert list(site_packages.rglob("_C*")) == []


def test_refuses_a_wheel_with_another_hash(
    wheel: Path, site_packages: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    (site_packages / "detectron2").mkdir()
    (site_packages / "detectron2" / "__init__.py").write_text("import no_such_module")
    monkeypatch.setattr(install_detectron2, "SHA256", "0" * 64)
    assert install_detectron2.main([]) == 2
    error = capfd.readouterr().err
    assert "DO NOT MATCH THE HASHES" in error
    assert "nothing was changed" in error
    assert [path.name for path in site_packages.iterdir()] == ["detectron2"]


def test_says_what_is_missing_when_the_installed_one_does_not_import(
    wheel: Path, site_packages: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(install_detectron2, "PROBE", "import no_such_module")
    assert install_detectron2.main([]) == 2
    assert "No module named 'no_such_module'" in capsys.readouterr().err


def test_refuses_an_interpreter_of_the_system(
    site_packages: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (site_packages / "EXTERNALLY-MANAGED").write_text("")
    monkeypatch.setattr(install_detectron2, "PROBE", "import no_such_module")
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert install_detectron2.main([]) == 2
    assert "run this inside a virtual environment" in capsys.readouterr().err
