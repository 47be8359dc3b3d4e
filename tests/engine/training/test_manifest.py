import re
import subprocess
from pathlib import Path

import pytest

from engine.training import manifest as describe

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not in a git clone")
def test_the_commit_is_that_of_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # wherever the program was started
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert re.fullmatch(f"{head.stdout.strip()}(-dirty)?", describe.commit())


def test_no_commit_is_known_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert describe.commit() is None


def test_a_tag_does_not_hide_the_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init")
    git("commit", "--allow-empty", "--no-gpg-sign", "-m", "first")
    git("tag", "--no-sign", "-a", "v1", "-m", "v1")
    monkeypatch.setattr(describe, "__file__", str(tmp_path / "manifest.py"))
    assert describe.commit() == git("rev-parse", "HEAD")
