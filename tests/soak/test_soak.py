"""Short soak in its own process: every promise kept, all cases done."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.watch import attempt, is_clear

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.soak
def test_short_soak(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--rows", tmp_path / "rows"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    rows = [json.loads(path.read_text()) for path in sorted((tmp_path / "rows").iterdir())]
    assert len(rows) == 11
    assert all(row["crashes"] == row["hangs"] == "0" for row in rows)
    assert all(row[kind] == "0" for row in rows for kind in ("half-written", "lost", "unequal") if kind in row)


def test_a_case_is_judged():
    def of(work):
        return attempt(work, None).kind

    def refuse(text):
        raise ValueError(text)

    assert of(lambda case: "done") == "result"
    assert of(lambda case: refuse("a.png: is empty")) == "refused"
    assert of(lambda case: refuse("two\nlines of text")) == of(lambda case: refuse("")) == "unclear"
    assert of(lambda case: {}["key"]) == "crash"
    assert not is_clear("\x1b[2J all is well")
