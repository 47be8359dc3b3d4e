"""Links lead somewhere, documented options and settings exist, summaries are plain."""

import ast
import re
from pathlib import Path

import pytest

from tests.test_repository import ROOT, name, tracked

PAGES = sorted(path for path in tracked() if path.suffix == ".md")
PYTHON = sorted(path for path in tracked() if path.suffix == ".py")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
COMMAND = re.compile(r"python3? ((?:[\w/]+/)?\w+\.py)((?:[^\n`]|\\\n)*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
NOUN_CLAUSE = re.compile(r"(What|Where|Who|Whether|How|From)\b")
SHAPE = re.compile(r"\([^()]*\)")
README_LINES, SUMMARY_WORDS = 180, 12
# Options of other programs that the pages call: detectron2's launcher, torchrun, pip, docker, Slurm.
FOREIGN = set(
    """--config-file --num-gpus --num-machines --machine-rank --dist-url --resume --eval-only --help
    --nproc-per-node --nnodes --rdzv-backend --rdzv-endpoint --max-restarts --no-build-isolation --rm --network
    --cpus-per-task --gpus-per-node --nodes --ntasks-per-node --requeue --signal --time""".split()
)
STRINGS = {
    path: {
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    for path in PYTHON
    if not name(path).startswith("tests/") or name(path).startswith("tests/soak/")
}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if not re.match(r"\w+:", target)]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_documented_commands_exist_with_their_options(page: Path) -> None:
    shared = STRINGS[ROOT / "tools" / "arguments.py"]
    wrong = []
    for script, arguments in COMMAND.findall(page.read_text()):
        if not (ROOT / script).is_file():
            wrong.append(script)
            continue
        known = STRINGS[ROOT / script] | shared | FOREIGN
        wrong += [f"{script} {option}" for option in OPTION.findall(arguments.split("#")[0]) if option not in known]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_documented_options_exist_somewhere(page: Path) -> None:
    known = set().union(*STRINGS.values()) | FOREIGN
    assert sorted({option for option in OPTION.findall(page.read_text()) if option not in known}) == []


def test_the_front_page_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def summaries() -> list[tuple[str, str]]:
    """(file:line, first line of the docstring) of every module, class and function."""
    found = []
    for path in PYTHON:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    found.append((f"{name(path)}:{getattr(node, 'lineno', 1)}", text.split("\n")[0]))
    return found


def test_summaries_are_noun_phrases_or_imperatives() -> None:
    assert [place for place, summary in summaries() if NOUN_CLAUSE.match(summary)] == []


def test_summaries_are_short() -> None:
    """Shapes and other parentheses aside."""
    words = {
        entry: [word for word in SHAPE.sub("", entry[1]).split() if re.search(r"\w", word)] for entry in summaries()
    }
    assert [entry for entry, found in words.items() if len(found) > SUMMARY_WORDS] == []
