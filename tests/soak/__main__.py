"""Soak: fuzzed files and commands, kills, faults, a long run.

Seeds are fixed, and a table comes at the end.

Exit codes: 0 all promises kept, 1 some were not (each is listed), 2 wrong arguments.
"""

import argparse
import functools
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from modeling.inference.memory import bound_caches, use_huge_pages
from tests.soak.faults import FAULTS
from tests.soak.fuzz_checkpoints import Checkpoints
from tests.soak.fuzz_commands import Commands
from tests.soak.fuzz_folders import Folders
from tests.soak.fuzz_pairs import Pairs
from tests.soak.fuzz_sequences import Sequences
from tests.soak.kills import TASKS, Kills, kill_and_resume
from tests.soak.long_run import SETTLED, Growth, long_run
from tests.soak.pictures import all_images
from tests.soak.summary import load, save, table, write_readme
from tests.soak.watch import Tally, watched

SEED, BLOCK = 1, 50
LONG_RUN = 500  # images
Row = dict[str, str]


@dataclass(frozen=True)
class Part:
    """Part of the soak: its numbers of cases, and its function.

    In a short and in a long run.
    """

    name: str
    short: int
    long: int
    run: Callable[[int, Path], Iterator[tuple[Row, list[str]]]]


def fuzz(kind: type, name: str, cases: int, folder: Path) -> Iterator[tuple[Row, list[str]]]:
    """Rows that count on, a block of cases at a time."""
    tally, work = Tally(name), kind(SEED)
    os.environ["SOAK_DIR"] = str(folder)
    for start in range(0, cases, BLOCK):
        tally.merge(watched(name, range(start, min(start + BLOCK, cases)), work, work.setup))
        results, refused = (tally.counts.get(kind, 0) for kind in ("result", "refused"))
        row = {
            "part": f"fuzz: {name}",
            "cases": f"{tally.cases:,}",
            "what came out": f"{results:,} results, {refused:,} refused in a line",
            "crashes": str(tally.counts.get("crash", 0) + tally.counts.get("unclear", 0)),
            "hangs": str(tally.counts.get("hang", 0)),
            "largest": f"+{tally.peak / 2**20:.0f} MiB in a case"
            + (f", {tally.counts['memory']} over budget" if "memory" in tally.counts else ""),
            "slowest": f"{tally.slowest:.1f} s",
        }
        yield row, tally.faults


def kills(name: str, count: int, folder: Path) -> Iterator[tuple[Row, list[str]]]:
    """Rows that count on, a round of kills at a time."""

    def row(result: Kills) -> Row:
        return {
            "part": f"killed: {result.name}",
            "cases": f"{result.kills} kills, {result.rounds} runs to the end",
            "what came out": "equal to the undisturbed run" if not result.unequal else "see unequal",
            "crashes": "0",
            "hangs": "0",
            "half-written": str(result.half + result.leftovers),
            "lost": str(result.lost),
            "unequal": str(result.unequal),
        }

    for result in kill_and_resume(TASKS[name](folder), count, folder, SEED):
        yield row(result), result.notes


def faults(count: int, folder: Path) -> Iterator[tuple[Row, list[str]]]:
    """One row; a fault after the other."""
    broken, done = [], []
    for name, cause in list(FAULTS.items())[:count]:
        (folder / name).mkdir()
        verdict = cause(folder / name)
        done.append(verdict.name)
        broken += [f"{verdict.name}: {claim}" for claim in verdict.broken]
        row = {
            "part": "faults",
            "cases": str(len(done)),
            "what came out": f"{', '.join(done)}: a line, the exit code, all other files",
            "crashes": str(len(broken)),
            "hangs": "0",
            "half-written": "0" if not broken else "see below",
            "lost": "0",
        }
        yield row, broken


def long(count: int, folder: Path) -> Iterator[tuple[Row, list[str]]]:
    """One row, of runs in processes of their own.

    Each another size with oneDNN shows nothing in a short run that the other two do not.
    """
    variants = {"40 sizes": (40, True), "each another size": (count, True), "the same without oneDNN": (count, False)}
    if count < LONG_RUN:
        del variants["each another size"]
    told, problems = [], []
    for name, (sizes, onednn) in variants.items():
        growth = _apart(folder / name, count, sizes, onednn)
        told.append(f"{name}: memory {growth.memory:+.2%} of {max(growth.resident[:SETTLED]) / 2**20:.0f} MiB")
        problems += [f"long run, {name}: {growth.failures} images failed"] * bool(growth.failures)
        problems += [f"long run, {name}: open files or threads changed"] * (not growth.constant)
        if name != "each another size":  # oneDNN keeps code that it compiled for every shape
            problems += [f"long run, {name}: resident memory grew by {growth.memory:.1%}"] * (growth.memory > 0.02)
    row = {
        "part": "long run",
        "cases": f"{count} images, one process",
        "crashes": str(len(problems)),
        "hangs": "0",
        "what came out": f"{'; '.join(told)}; {growth.files[-1]} files, {growth.threads[-1]} threads throughout",
    }
    yield row, problems


def _apart(folder: Path, count: int, sizes: int, onednn: bool) -> Growth:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work() -> None:
        torch.set_num_threads(1)
        sender.send(long_run(folder, count, sizes, onednn))

    process = context.Process(target=work)
    process.start()
    growth = receiver.recv()
    process.join()
    return growth


PARTS = (
    Part("pairs", 150, 10_000, functools.partial(fuzz, Pairs, "image and trimap")),
    Part("checkpoints", 80, 1_000, functools.partial(fuzz, Checkpoints, "checkpoint")),
    Part("folders", 20, 1_000, functools.partial(fuzz, Folders, "folder with odd files")),
    Part("commands", 80, 1_000, functools.partial(fuzz, Commands, "command line and overrides")),
    Part("sequences", 25, 600, functools.partial(fuzz, Sequences, "sequence of commands")),
    Part("inference", 4, 100, functools.partial(kills, "inference")),
    Part("train", 2, 20, functools.partial(kills, "train")),
    Part("composition", 3, 20, functools.partial(kills, "composition")),
    Part("clip", 2, 20, functools.partial(kills, "clip")),
    Part("faults", 3, len(FAULTS), faults),
    Part("long run", 80, LONG_RUN, long),
)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.split("\n\n")[0])
    parser.add_argument("--long", action="store_true", help="the numbers of a release, and the table in README.md")
    parser.add_argument("--only", nargs="+", choices=[part.name for part in PARTS], help="some parts; default: all")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no further cases of a part after these")
    parser.add_argument("--rows", type=Path, default=Path("output/soak"), help="folder where parts leave their rows")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    torch.set_num_threads(1)
    use_huge_pages()
    bound_caches()
    all_images()  # once, for all the processes to come
    problems = []
    for order, part in enumerate(PARTS):
        if args.only and part.name not in args.only:
            continue
        found, begin = [], time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="soak"))
        try:
            for row, found in part.run(part.long if args.long else part.short, folder):
                seconds = time.monotonic() - begin
                save(args.rows, order, row)
                print(f"{part.name}: {row['cases']} in {seconds:.0f} s, {len(found)} faults", flush=True)
                if seconds > 60 * args.minutes:
                    break
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        problems += found
    rows = load(args.rows)
    print(table(rows), *problems, sep="\n")
    if args.long:
        write_readme(rows, f"Seed {SEED}, Python {sys.version.split()[0]}, torch {torch.__version__}.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
