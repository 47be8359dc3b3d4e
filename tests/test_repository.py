"""Rules of the repository: imports, tracked files, and answers of scripts."""

import ast
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("modeling", "data", "metrics", "engine")
FORBIDDEN = {
    "modeling": {"data", "metrics", "engine", "detectron2", "argparse", "tqdm", "cv2", "PIL", "timm", "transformers"},
    "data": {"modeling", "metrics", "engine", "detectron2", "argparse", "tqdm", "transformers"},
    "metrics": {"modeling", "engine", "detectron2", "argparse", "tqdm", "torch", "transformers"},
    "engine": {"argparse", "transformers"},
}
BOTTOM_OF_DATA = {"data.files", "data.trimap", "data.folders"}  # what metrics may import of data
MODULES = sorted(path for room in LIBRARIES for path in (ROOT / room).rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.py"))
SCRIPTS = [
    path
    for path in (*sorted(ROOT.glob("*.py")), *sorted((ROOT / "tools").glob("*.py")))
    if "__main__" in path.read_text()
]
HELP_SECONDS = 1.5  # of processor time


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(tree: ast.AST) -> set[str]:
    """The top-level packages that a module imports anywhere, also inside its functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listing.stdout.split("\0") if line and (ROOT / line).is_file()]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_room_imports_only_what_its_rules_allow(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    allowed = {"PIL"} if name(path) == "modeling/inference/pictures.py" else set()  # only where pictures are passed
    assert not imported(ast.parse(path.read_text())) & (FORBIDDEN[room] - allowed)


def test_metrics_import_only_the_bottom_of_data() -> None:
    nodes = [node for path in (ROOT / "metrics").rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    assert not [node.lineno for node in nodes if isinstance(node, ast.Import) and "data" in imported(node)]
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
    assert {module for module in modules if module.split(".")[0] == "data"} <= BOTTOM_OF_DATA


def relative_imports(path: Path) -> set[str]:
    """Modules of its own package that a module imports, as `package.room.module`."""
    here = path.relative_to(ROOT).with_suffix("").parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*here[: -node.level], *(node.module.split(".") if node.module else [])]
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return found


def test_networks_do_not_know_how_they_run_on_large_images() -> None:
    """Only the package's public face and `modeling/inference` import executors."""
    rooms = [path for path in (ROOT / "modeling").rglob("*.py") if path.parent.name != "inference"]
    importing = [
        path for path in rooms if any(found.startswith("modeling.inference") for found in relative_imports(path))
    ]
    assert [name(path) for path in importing] == ["modeling/__init__.py"]


def production() -> list[Path]:
    return [*MODULES, *CONFIGS, *ROOT.glob("*.py"), *(ROOT / "tools").rglob("*.py")]


def test_production_does_not_import_tests() -> None:
    assert [name(path) for path in production() if "tests" in imported(ast.parse(path.read_text()))] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_libraries_do_not_print(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"] == []


def test_the_import_rule_sees_every_way_to_import() -> None:
    code = "import cv2.data as c\ndef f():\n    from detectron2.config import x\nfrom . import tqdm\nfrom .a import y"
    assert imported(ast.parse(code)) == {"cv2", "detectron2"}


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_configs_load(path: Path) -> None:
    from detectron2.config import LazyConfig

    config = LazyConfig.load(str(path))
    # A shared piece may hold only builder functions, which LazyConfig leaves out; a variant has to name its network.
    assert "common" in path.relative_to(ROOT).parts or "model" in config


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_scripts_explain_themselves(path: Path) -> None:
    """At once and without warnings.

    Heavy libraries are imported after the arguments are parsed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, str(path), "--help"], cwd=ROOT, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage:")
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < HELP_SECONDS


@pytest.fixture(scope="module")
def a_command_with_more_threads() -> None:
    torch.set_num_threads(os.cpu_count() + 1)


@pytest.mark.usefixtures("a_command_with_more_threads")
def test_workers_of_the_suite_share_the_cores() -> None:
    """No more threads than cores.

    Otherwise threads wait for each other, and small matrices take minutes.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
    assert torch.get_num_threads() * workers <= max(os.cpu_count(), workers)


def test_one_place_extends_the_path() -> None:
    changing = [path for path in tracked() if path.suffix == ".py" and "sys.path.insert" in path.read_text()]
    assert [name(path) for path in changing if path != Path(__file__).resolve()] == ["tools/tools.py"]


def test_unknown_is_defined_once_per_side() -> None:
    """One definition for arrays and one for tensors.

    Files that run alone, or that are written out for reference, keep their own.
    """
    places = {name(path) for path in production() if re.search(r"== ?(128|UNKNOWN)\b", path.read_text())}
    alone = {place for place in places if place.startswith(("tools/onnx_graphs/", "tools/reference/"))}
    assert places - alone == {
        "data/trimap.py",
        "modeling/inputs.py",
        "modeling/inference/predictor.py",  # refuses other levels
    }


def test_the_formatter_formats_everything() -> None:
    mark = "# fmt: " + "skip"
    assert [name(path) for path in tracked() if path.suffix == ".py" and mark in path.read_text()] == []


def test_requirements_are_lower_bounds() -> None:
    lines = "".join(path.read_text() for path in sorted(ROOT.glob("requirements*.txt")))
    entries = [line for line in lines.splitlines() if line and not line.startswith(("#", "-r "))]
    assert entries
    assert [line for line in entries if not re.fullmatch(r"[A-Za-z0-9-]+>=[0-9.]+", line)] == []


def test_tracked_files_stay_small() -> None:
    sizes = {name(path): path.stat().st_size for path in tracked()}
    golden = sum(size for file, size in sizes.items() if file.startswith("tests/golden/"))
    samples = sum(size for file, size in sizes.items() if file.startswith("samples/"))
    assert golden <= 8_000_000
    assert samples <= 1_500_000


def test_every_sample_has_its_three_files_and_a_credit() -> None:
    credits = (ROOT / "samples" / "README.md").read_text()
    original, trimap, mask = (
        {path.stem for path in (ROOT / "samples" / kind).iterdir()} for kind in ("original", "trimap", "mask")
    )
    assert original == trimap == mask != set()
    assert [stem for stem in original if stem not in credits] == []
