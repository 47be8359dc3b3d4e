"""Malformed command lines and overrides: each works or ends in one line."""

import contextlib
import importlib
import io
import logging
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.utils.logger import setup_logger  # noqa: F401 (imports slowly)

from engine.build import _keys, load_config
from tests.modeling.small import small_mematte
from tests.soak.fuzz_checkpoints import TINY
from tests.soak.pictures import scene, trimap
from tests.soak.watch import is_clear

CONFIG = Path(__file__).with_name("small.py")
# Not "/" and "..": walking through a whole disk takes long, and is what was asked for.
VALUES = (
    "",
    "0",
    "-1",
    "1",
    "2.5",
    "nan",
    "1e999",
    str(10**30),
    "9" * 5000,
    "abc",
    "none",
    "null",
    "true",
    "[]",
    "{}",
    "[1,2",
    "${x}",
    "${oc.env:HOME}",
    "a=b=c",
    "'",
    "\\",
    "--",
    "-",
    "/nowhere",
    ".",
    "data",
    "data/image",
    "data/image/a.png",
    "nowhere/file.png",
    "x" * 300,
    "ä漢🙂",
    "\udcff",
    "a\nb",
    "\x1b[2J",
    "/dev/null",
    "/dev/zero",
    "pipe",
    "*",
    "%s%n",
    "{_target_: os.mkdir, path: attacked}",
    "cpu",
    "cuda:99",
    "4GB",
    "0GB",
    "-4GB",
    "fp16",
    "ddim0",
    "auto",
)
OPTIONS = ("--help", "--nope", "--overwrite", "--resume", "--tta", "--", "-", "")
TREE = ("--data", "data", "--output-dir", "out")
MODEL = ("--config", str(CONFIG), "--checkpoint", "model.pth", "--device", "cpu")
# Values that may not be mutated: the run would be endless, or would start other processes.
KEPT = ("--num-gpus", "--num-machines", "--workers", "train.max_iter=1")

COMMANDS: dict[str, tuple[str, ...]] = {
    "inference": (*MODEL, *TREE, "--max-tokens", "50", "--bit-depth", "16", "--dtype", "bf16", "--max-memory", "8GB"),
    "inference 2": (
        "inference",
        *MODEL,
        "--image",
        "data/image/a.png",
        "--trimap",
        "data/trimap/a.png",
        "--output",
        "a.png",
        "--output-kind",
        "rgba",
        "--format",
        "tiff",
        "--depth",
        "16",
    ),
    "inference 3": (
        "inference",
        *MODEL,
        "--data",
        "data/image",
        "--mask",
        "data/trimap",
        "--output-dir",
        "out",
        "--output-kind",
        "composite,alpha",
        "--background",
        "red",
    ),
    "evaluation": (
        "--pred-dir",
        "data/trimap",
        "--label-dir",
        "data/trimap",
        "--trimap-dir",
        "data/trimap",
        "--workers",
        "1",
        "--json",
        "scores.json",
        "--csv",
        "scores.csv",
    ),
    "train": ("--config-file", str(TINY), "train.max_iter=1", "train.output_dir=run", "train.total_batch_size=1"),
    "tools.make_trimap": ("data/trimap", "trimaps", "--workers", "1"),
    "tools.matte_clip": ("frames", "clip", "--trimaps", "trimaps_of_frames", *MODEL[:4], "--device", "cpu"),
    "tools.make_cutout": ("data/image", "data/trimap", "cutouts"),
    "tools.export_checkpoint": ("model.pth", "model.safetensors", "--dtype", "fp16"),
    "tools.prepare_composition1k": (
        "--foregrounds",
        "data/image",
        "--alphas",
        "data/trimap",
        "--backgrounds",
        "data/image",
        "--foreground-list",
        "names.txt",
        "--background-list",
        "names.txt",
        "--output",
        "set",
        "--each",
        "1",
        "--workers",
        "1",
    ),
    "tools.check_dataset": ("DIM",),
}


def lay_out(folder: Path) -> None:
    """Small files for all commands."""
    for name in ("image", "trimap"):
        (folder / "data" / name).mkdir(parents=True)
    (folder / "frames").mkdir()
    (folder / "trimaps_of_frames").mkdir()
    rng = np.random.default_rng(0)
    image, known = scene(rng)[..., :3], trimap(rng)
    for place in ("data/image/a.png", "frames/f_001.png"):
        cv2.imwrite(str(folder / place), image)
    for place in ("data/trimap/a.png", "trimaps_of_frames/f_001.png"):
        cv2.imwrite(str(folder / place), known)
    torch.save(small_mematte().state_dict(), folder / "model.pth")
    (folder / "names.txt").write_text("a.png\n")
    os.mkfifo(folder / "pipe")


@cache
def keys(config: Path) -> list[str]:
    return _keys(load_config(config))


def mutated(arguments: tuple[str, ...], chance: random.Random) -> list[str]:
    """Command line with one or two parts changed, lost, doubled or added."""
    result = list(arguments)
    for _ in range(chance.choice((1, 1, 2, 3))):
        place = chance.randrange(len(result))
        if result[place] in KEPT or (place and result[place - 1] in KEPT):
            continue
        lot = chance.random()
        if lot < 0.55:
            result[place] = chance.choice(VALUES)
        elif lot < 0.7 and len(result) > 1:
            del result[place]
        elif lot < 0.8:
            result.insert(place, result[place])
        elif lot < 0.9:
            result.insert(place, chance.choice(OPTIONS))
        else:
            result.insert(place, chance.choice(VALUES))
    return result


def overridden(chance: random.Random) -> tuple[str, list[str]]:
    """A command with overrides of settings that its config has."""
    if chance.random() < 0.7:
        own = [key for key in keys(CONFIG) if key.startswith("model")]
        name, base = "inference", [*MODEL, *TREE]
    else:
        # An endless run is what was asked for, not a hang.
        own = [key for key in keys(TINY) if key not in ("train.max_iter", "train.device")]
        name, base = "train", list(COMMANDS["train"])
    overrides = [f"{chance.choice(own)}={chance.choice(VALUES)}" for _ in range(chance.choice((1, 1, 2)))]
    return name, [*base, *overrides]


class Commands:
    """Case k is the same whichever cases go before it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def setup(self) -> None:
        torch.set_num_threads(1)
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self.folder = Path(tempfile.mkdtemp(prefix="commands", dir=os.environ.get("SOAK_DIR")))

    def __call__(self, case: int) -> str:
        chance = random.Random(f"{self.seed} {case}")
        if chance.random() < 0.45:
            name, arguments = overridden(chance)
        else:
            name = chance.choice(list(COMMANDS))
            whole = COMMANDS[name]
            name, whole = (whole[0], whole[1:]) if whole[0] == "inference" else (name, whole)
            arguments = mutated(whole, chance)
        folder = self.folder / "case"
        lay_out(folder)
        os.chdir(folder)
        try:
            return run(importlib.import_module(name).main, name, arguments)
        finally:
            os.chdir(self.folder)
            attacked = (folder / "attacked").exists()
            shutil.rmtree(folder)
            if attacked:
                raise AssertionError(f"code was run by {name} {arguments}")


def run(main: Callable[[list[str]], int], name: str, arguments: list[str]) -> str:
    """Output of a script's main; ValueError with its last line on failure."""
    root, out = logging.getLogger(), io.StringIO()
    root.handlers.clear()
    with contextlib.redirect_stderr(out), contextlib.redirect_stdout(out):
        try:
            code = main(arguments)
        except SystemExit as error:
            code = error.code
        except Exception as error:
            raise AssertionError(f"{name} {arguments}: {type(error).__name__}: {error}"[:390]) from error
    text = out.getvalue().encode("utf-8", "backslashreplace").decode()  # as standard error does
    if "Traceback" in text or code not in (0, 1, 2):
        raise AssertionError(f"{name} {arguments}: exit code {code}: {text[-300:]}")
    if code == 0:
        return text
    lines = [line for line in text.splitlines() if line.strip()]
    if "usage:" in text:  # argparse repeats what was typed, as it is
        text = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
        lines = [line for line in text.splitlines() if line.strip()]
    told = [line for line in lines if "ERROR" in line or "error:" in line or name == "train"]
    if not told or not is_clear(told[-1][:4000]):
        raise ValueError(f"{name} {arguments}: \n {text[-300:]}")  # judged as unclear
    raise ValueError(told[-1][:4000])
