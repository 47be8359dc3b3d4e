"""Folders with odd names, kinds of file, links and pipes.

Through the commands that read them.

After each case every input is as it was, and the good files of the folder have their results.
"""

import csv
import hashlib
import importlib
import json
import os
import random
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from tests.modeling.small import small_mematte
from tests.soak.fuzz_commands import CONFIG, run
from tests.soak.fuzz_pairs import NAMES, NO_FILES
from tests.soak.pictures import all_images, bombs, damaged, scene, trimap

FOLDERS = ("image", "trimap", "mask")
GOOD = ("good", "sub/good ü")
ODD_NAMES = (*NAMES, "=cmd|calc", "+1", "@a", "Thumbs", ".hidden", "a.b.c", "good_0", "GOOD")
SUFFIXES = (".png", ".png", ".jpg", ".tif", ".webp", ".HEIC", ".gif", ".avif", ".txt", ".PNG", "")
REPORTS = ("scores", "mask/good.png", "link to good", "image/new", "nowhere/scores", "loop", "pipe", "trimap")


def lay_out(folder: Path, chance: random.Random) -> None:
    """Good pairs with masks, among files that users leave lying about."""
    rng = np.random.default_rng(0)
    for name in GOOD:
        known = trimap(rng)
        for kind, pixels in (
            ("image", scene(rng)[..., :3]),
            ("trimap", known),
            ("mask", (known == 255) * np.uint8(255)),
        ):
            path = folder / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels)
    (folder / "link to good").symlink_to("mask/good.png")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    for _ in range(chance.randint(1, 4)):
        name = chance.choice(ODD_NAMES) + chance.choice(SUFFIXES)
        for kind in chance.sample(FOLDERS, chance.choice((1, 2, 3))):
            odd(folder / kind / name, chance)


def odd(path: Path, chance: random.Random) -> None:
    """Something at `path` that may be no picture, or a link."""
    if os.path.lexists(path):
        return
    lot, files = chance.random(), all_images()
    try:
        if lot < 0.25:
            chance.choice(NO_FILES)(path)
        elif lot < 0.4:
            path.symlink_to(chance.choice(("good.png", "..", ".", "../mask/good.png", "sub", "/proc/self/status")))
        elif lot < 0.45:
            path.write_bytes(chance.choice(list(bombs().values())))
        else:
            content = files[chance.choice(list(files))]
            path.write_bytes(content if lot < 0.7 else damaged(content, chance))
    except OSError:  # a name too long, with its suffix
        return


def command(folder: Path, chance: random.Random) -> tuple[str, list[str]]:
    """Module and arguments."""
    name = chance.choice(
        ("evaluation", "evaluation", "inference", "inference", "tools.make_trimap", "tools.make_cutout")
    )
    if name == "evaluation":
        trimaps = chance.choice(
            (["--trimap-dir", "trimap"], ["--trimap-dir", "trimap", "--snap-trimap"], ["--whole-image"])
        )
        folders = ["--pred-dir", "mask", "--label-dir", chance.choice(("mask", "mask", "trimap"))]
        reports = [
            part
            for option in ("--csv", "--json", "--report")
            if chance.random() < 0.5
            for part in (option, chance.choice((f"out{option}", f"out{option}", *REPORTS)))
        ]
        return name, [*folders, *trimaps, *reports, "--workers", "1"]
    if name == "inference":
        guide = chance.choice(([], ["--mask", "mask"]))
        model = ["--config", str(CONFIG), "--checkpoint", str(folder.parent / "model.pth"), "--device", "cpu"]
        kind = chance.choice((["alpha"], ["rgba"], ["composite", "--background", "image/sub"]))
        return name, [*model, "--data", ".", *guide, "--output-dir", "out", "--output-kind", *kind]
    if name == "tools.make_trimap":
        more = chance.choice(
            ([], ["--kind", "alpha"], ["--kind", "instances"], ["--seed", "1"], ["--preview", "out/seen"])
        )
        return name, ["mask", "out", *more, "--workers", "1"]
    return name, ["image", "mask", "out"]


def contents(folder: Path) -> dict[str, str]:
    """Digests of regular input files, and targets of links."""
    found = {}
    for path in (path for kind in FOLDERS for path in (folder / kind).rglob("*")):
        if path.is_symlink():
            found[str(path)] = os.readlink(path)
        elif path.is_file() and path.stat().st_size < 10**8:
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


class Folders:
    """Case k is the same whichever cases go before it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def setup(self) -> None:
        """Prepare the process."""
        torch.set_num_threads(1)
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self.folder = Path(tempfile.mkdtemp(prefix="folders", dir=os.environ.get("SOAK_DIR")))
        torch.save(small_mematte().state_dict(), self.folder / "model.pth")
        for name in ("evaluation", "inference", "tools.make_trimap", "tools.make_cutout"):
            importlib.import_module(name)
        all_images()

    def __call__(self, case: int) -> str:
        chance = random.Random(f"{self.seed} {case}")
        folder = self.folder / "case"
        folder.mkdir()
        os.chdir(folder)
        try:
            lay_out(folder, chance)
            name, arguments = command(folder, chance)
            before = contents(folder)
            try:
                told = run(importlib.import_module(name).main, name, arguments)
            except ValueError as error:
                self.check(folder, name, arguments, before, str(error))
                raise
            self.check(folder, name, arguments, before, "")
            return told
        finally:
            os.chdir(self.folder)
            shutil.rmtree(folder)

    def check(self, folder: Path, name: str, arguments: list[str], before: dict[str, str], error: str) -> None:
        """Raise AssertionError for changed inputs or missing results of good files."""
        after = contents(folder)
        changed = [path for path, digest in before.items() if after.get(path) != digest]
        if changed:
            raise AssertionError(f"{name} {arguments}: changed {changed[0]}")
        if name == "evaluation":
            self.check_reports(folder, arguments)
        elif (folder / "out").exists():
            suffix = "_255.png" if "instances" in arguments else ".png"
            missing = [good for good in GOOD if not (folder / "out" / f"{good}{suffix}").is_file()]
            if missing:
                raise AssertionError(f"{name} {arguments}: nothing was made of {missing[0]}: {error}"[:390])

    def check_reports(self, folder: Path, arguments: list[str]) -> None:
        """Every report that was written has the good images."""
        for option, read in (("--json", _names_in_json), ("--csv", _names_in_csv)):
            path = folder / f"out{option}"
            if f"out{option}" in arguments and path.is_file() and "good" not in read(path):
                raise AssertionError(f"evaluation {arguments}: {path.name} lacks a good image")


def _names_in_json(path: Path) -> list[str]:
    return [image["name"] for image in json.loads(path.read_text())["images"]]


def _names_in_csv(path: Path) -> list[str]:
    with path.open() as file:
        return [row["name"] for row in csv.DictReader(file)]
