"""Table of a soak run, by the rows of its parts."""

import json
from pathlib import Path

README = Path(__file__).with_name("README.md")
START, END = "<!-- table -->", "<!-- end of the table -->"
COLUMNS = (
    "part",
    "cases",
    "what came out",
    "crashes",
    "hangs",
    "half-written",
    "lost",
    "unequal",
    "largest",
    "slowest",
)


def table(rows: list[dict[str, str]]) -> str:
    """Markdown of rows that hold some of the columns."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *(tuple(row.get(name, "") for name in COLUMNS) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def save(folder: Path, order: int, row: dict[str, str]) -> None:
    """Keep the row of a part."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{order:02d}.json").write_text(json.dumps(row))


def load(folder: Path) -> list[dict[str, str]]:
    """All rows that are there, in the order of the parts."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def write_readme(rows: list[dict[str, str]], about: str) -> None:
    """Put the table of a run into the README beside this file."""
    text = README.read_text()
    before, after = text[: text.index(START)], text[text.index(END) :]
    README.write_text(f"{before}{START}\n{about}\n\n{table(rows)}\n{after}")
