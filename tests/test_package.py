"""Installed package: one name, few requirements, shipped model, running example."""

import doctest
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns

import numpy as np
import pytest

import modeling
from data.files import read_image, read_trimap

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "samples" / "photographs"
FOREIGN = set("modeling data engine metrics tools detectron2 omegaconf cv2 timm torchvision PIL".split())

MATTE = """
import json, sys
import numpy as np
import mematte

image, trimap = (np.load(name) for name in sys.argv[1:])
predictor = mematte.load("MEMatte_T", device="cpu")
np.save("alpha.npy", predictor.predict(image, trimap))
print(json.dumps({"file": mematte.__file__, "version": mematte.__version__, "modules": sorted(sys.modules)}))
"""


def test_every_folder_of_the_library_is_packaged() -> None:
    listed = re.search(r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)[1]
    folders = {path.parent.relative_to(ROOT / "modeling") for path in (ROOT / "modeling").rglob("__init__.py")}
    assert set(re.findall(r'"(.*?)"', listed)) - {"mematte.weights"} == {
        ".".join(("mematte", *folder.parts)) for folder in folders
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel built from a copy, without network.

    The repository stays as it is.
    """
    folder = tmp_path_factory.mktemp("source")
    for name in ("modeling", "weights"):
        copytree(ROOT / name, folder / name, ignore=ignore_patterns("__pycache__", "*.png", "ViTMatte*"))
    for name in ("pyproject.toml", "LICENSE"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    code = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_one_package_and_all_of_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {path.relative_to(ROOT / "modeling").as_posix() for path in (ROOT / "modeling").rglob("*.py")}
    assert names == {f"mematte/{name}" for name in (*sources, "py.typed", "weights/MEMatte_T.safetensors")}


def test_it_is_installed_and_used_outside_the_repository(wheel: Path, tmp_path: Path) -> None:
    installed, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(installed)]
    done = subprocess.run([*pip, str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name.partition("-")[0] for path in installed.iterdir()) == ["mematte", "mematte"]
    image, trimap = read_image(SAMPLE / "image" / "astronaut.jpg"), read_trimap(SAMPLE / "trimap" / "astronaut.png")
    image, trimap = image[100:228, 120:280], trimap[100:228, 120:280]
    for name, array in (("image", image), ("trimap", trimap)):
        np.save(elsewhere / f"{name}.npy", array)
    command = [sys.executable, "-c", MATTE, "image.npy", "trimap.npy"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert Path(told["file"]).is_relative_to(installed) and told["version"] == modeling.__version__
    assert {name.split(".")[0] for name in told["modules"]} & FOREIGN == set()
    expected = modeling.load("MEMatte_T", device="cpu").predict(image, trimap)
    assert (trimap == 128).any()
    np.testing.assert_allclose(np.load(elsewhere / "alpha.npy"), expected, atol=1e-5)


def test_requirements_agree_with_those_of_the_repository() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    needed = re.findall(r'"([^"]+)"', re.search(r"^dependencies = \[(.*)\]$", project, re.MULTILINE)[1])
    assert {name.partition(">=")[0] for name in needed} == {"torch", "numpy", "einops", "safetensors"}
    assert set(needed) <= set((ROOT / "requirements.txt").read_text().splitlines())
    assert "scripts" not in project


def test_the_example_of_the_package_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mematte", modeling)  # its name once it is installed
    result = doctest.testmod(modeling)
    assert result.attempted > 0 and result.failed == 0
