"""Sequences of commands over one folder with changing settings.

They show what a resumed run takes over, and what it removes.

After each case, every file of the user is as it was, and what a command reports as done equals its result in a fresh
folder. Damaged outputs, foreign files, links, pipes and working folders of the user lie in the way.
"""

import hashlib
import importlib
import os
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save

from tests.modeling.small import small_mematte
from tests.soak.fuzz_commands import CONFIG, run
from tests.soak.pictures import scene, trimap

OUTPUTS = ("out", "out", "out", "data/image", "data", "data/image/deep", "frames", "frames/out", "link", "loop", "file")
VIDEOS = ("out.mov", "12:30.mov", "out.mkv", "frames.mov", "data.mkv", "own.mov", "data/image.mov")
KINDS = ("alpha", "rgba", "foreground", "composite", "preview")
SETTINGS = (
    ("--bit-depth", "16"),
    ("--depth", "16"),
    ("--format", "tiff"),
    ("--premultiplied",),
    ("--max-tokens", "3"),
    ("--dtype", "bf16"),
)
SIZE = (40, 48)
MODEL = ("--config", str(CONFIG), "--checkpoint", "model.safetensors", "--device", "cpu")


@cache
def weights() -> bytes:
    """Checkpoint of all runs, in the format that is read fastest."""
    return save(small_mematte().state_dict())


def lay_out(folder: Path) -> None:
    """Inputs, frames, weights, and obstacles to outputs.

    Inputs are images with trimaps and masks.
    """
    rng = np.random.default_rng(0)
    for name in ("data/image", "data/trimap", "frames", "guides", "own.mov.frames", "masks"):
        (folder / name).mkdir(parents=True)
    for number, name in enumerate(("a", "b")):
        image, known = scene(rng)[..., :3], trimap(rng)
        image, known = (cv2.resize(pixels, SIZE, interpolation=cv2.INTER_NEAREST) for pixels in (image, known))
        for place, pixels in (
            (f"data/image/{name}.jpg", image),
            (f"data/trimap/{name}.png", known),
            (f"masks/{name}.png", np.where(known == 255, 255, 0).astype(np.uint8)),
            (f"frames/f_{number}.png", image),
            (f"guides/f_{number}.png", known),
            (f"own.mov.frames/f_{number}.png", image),
        ):
            cv2.imwrite(str(folder / place), pixels)
    (folder / "model.safetensors").write_bytes(weights())
    (folder / "file").write_text("no folder")
    (folder / "link").symlink_to("data/image")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe.png")


def settings(chance: random.Random, kind: str) -> list[str]:
    """Options of one run."""
    chosen = [part for option in SETTINGS if chance.random() < 0.2 for part in option]
    return [*chosen, *(["--background", chance.choice(("red", "#00ff00", "masks"))] if kind == "composite" else [])]


def command(chance: random.Random) -> tuple[str, list[str], str]:
    """Module, arguments with OUTPUT for the output, and the output."""
    kind, output = chance.choice(KINDS), chance.choice(OUTPUTS)
    options = ["--output-kind", kind, *settings(chance, kind)]
    lot = chance.random()
    if lot < 0.45:
        guide = chance.choice(([], [], ["--mask", "masks"]))
        return "inference", [*MODEL, "--data", "data", *guide, "--output-dir", "OUTPUT", *options], output
    if lot < 0.7:
        unknown = {"--bit-depth", "--max-tokens", "--dtype"}
        pairs = list(zip(options, [*options[1:], ""], strict=True))
        drop = {index + step for index, (name, _) in enumerate(pairs) if name in unknown for step in (0, 1)}
        kept = [part for index, part in enumerate(options) if index not in drop]
        return "tools.make_cutout", ["data/image", "masks", "OUTPUT", *kept], output
    if lot < 0.8:
        band = ["--band", chance.choice(("2", "5")), *chance.choice(([], ["--seed", "1"], ["--kind", "alpha"]))]
        return "tools.make_trimap", ["masks", "OUTPUT", *band, "--workers", "1"], output
    clip = chance.choice(("frames", "frames", "own.mov.frames"))
    output = chance.choice((output, chance.choice(VIDEOS)))
    return "tools.matte_clip", [clip, "OUTPUT", "--trimaps", "guides", *MODEL, *options], output


def disturb(chance: random.Random, folder: Path) -> None:
    """Damage something that a command has written before."""
    written = [path for path in sorted(folder.glob("out*/**/*")) if path.is_file() and path.suffix in (".png", ".tiff")]
    if not written or chance.random() < 0.5:
        return
    path = chance.choice(written)
    content = path.read_bytes()
    lot = chance.choice(("empty", "cut", "grey", "removed"))
    if lot == "empty":
        path.write_bytes(b"")
    elif lot == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif lot == "grey":
        cv2.imwrite(str(path), np.zeros(SIZE[::-1], np.uint8))
    else:
        path.unlink()


def contents(folder: Path) -> dict[str, str]:
    """Digests of all files, by relative name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


class Sequences:
    """Case k is the same whichever cases go before it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def setup(self) -> None:
        """Prepare the process."""
        torch.set_num_threads(1)
        weights()
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self.folder = Path(tempfile.mkdtemp(prefix="sequences", dir=os.environ.get("SOAK_DIR")))

    def __call__(self, case: int) -> str:
        chance, folder = random.Random(f"{self.seed} {case}"), self.folder / "case"
        lay_out(folder)
        os.chdir(folder)
        try:
            return self._commands(chance, folder)
        finally:
            os.chdir(self.folder)
            shutil.rmtree(folder)

    def _commands(self, chance: random.Random, folder: Path) -> str:
        """Run the commands; raises AssertionError where a promise is not kept."""
        owned, last = contents(folder), ""
        module, arguments, output = command(chance)
        for step in range(chance.choice((2, 2, 3))):
            if step and chance.random() < 0.6:  # mostly the same command with other settings
                other = command(chance)
                module, arguments, output = other[0], other[1], output if chance.random() < 0.7 else other[2]
            disturb(chance, folder)
            typed = [output if part == "OUTPUT" else part for part in arguments]
            try:
                last = run(importlib.import_module(module).main, module, typed)
                done = True
            except ValueError as error:
                last, done = str(error), False
            now = contents(folder)
            lost = [name for name, digest in owned.items() if now.get(name) != digest]
            if lost:
                raise AssertionError(f"{module} {typed}: changed or removed {lost}")
            if done:
                self._compare(folder, module, arguments, output)
        if not done:
            raise ValueError(last)
        return last

    def _compare(self, folder: Path, module: str, arguments: list[str], output: str) -> None:
        """True if the output equals a fresh folder's result.

        Videos are encoded anew each time.
        """
        if Path(output).suffix:
            return
        fresh = folder.parent / "fresh"
        run(
            importlib.import_module(module).main,
            module,
            [str(fresh) if part == "OUTPUT" else part for part in arguments],
        )
        expected, found = contents(fresh), contents(folder / output)
        shutil.rmtree(fresh)
        wrong = [name for name, digest in expected.items() if found.get(name) != digest]
        if wrong:
            raise AssertionError(f"{module} {arguments} to {output}: {wrong} differ from a fresh run")
