"""Damaged images with damaged trimaps or masks, through a small network."""

import os
import random
import shutil
import socket
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from data.files import MAX_BYTES, read_alpha, read_metadata, write_alpha
from data.folders import Pair
from data.masks import read_mask
from engine.batch.folders import read_pair
from modeling.inference.predictor import Predictor
from tests.modeling.small import small_mematte
from tests.soak.pictures import all_images, all_trimaps, bombs, damaged

NAMES = (
    "a",
    "ä ö ü 漢字 🙂",
    "x" * 250,
    "new\nline",
    "esc\x1b[31mred",
    "-rf",
    "percent%s%n",
    "12:30",
    "tab\t",
    "\udcff not utf-8",
    "'\"$(x)`",
)
COMMON = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "HEIC")  # kinds of file that the reader takes
SUFFIXES = (".png", ".jpg", ".tif", ".webp", ".bmp")


@cache
def predictor() -> Predictor:
    torch.set_num_threads(1)
    return Predictor(small_mematte(), device="cpu")


def no_folder(path: Path) -> None:
    path.mkdir()


def dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def circle_of_links(path: Path) -> None:
    path.symlink_to(path.name)


def link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_the_kernel(path: Path) -> None:
    path.symlink_to("/proc/kmsg")  # reading waits for the next message


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening_socket(path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path.parent / "s"))  # the path itself may be too long for an address
    (path.parent / "s").rename(path)


def huge_hole(path: Path) -> None:
    """A terabyte that takes no room."""
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(10**12)


def just_too_large(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(MAX_BYTES + 1)


def nothing(path: Path) -> None:
    pass


NO_FILES: tuple[Callable[[Path], None], ...] = (
    no_folder,
    dangling_link,
    circle_of_links,
    link_to_zeros,
    link_to_the_kernel,
    pipe,
    listening_socket,
    huge_hole,
    just_too_large,
    nothing,
)


def make(path: Path, kinds: dict[str, bytes], chance: random.Random) -> None:
    """Write a picture: whole, damaged, a bomb, or no file."""
    lot = chance.random()
    if lot < 0.03:
        chance.choice(NO_FILES)(path)
    elif lot < 0.06:
        path.write_bytes(chance.choice(list(bombs().values())))
    else:
        known = [name for name in kinds if name.split()[0].upper() in COMMON] if chance.random() < 0.7 else list(kinds)
        content = kinds[chance.choice(known)]
        path.write_bytes(content if lot < 0.4 else damaged(content, chance))


class Pairs:
    """Case k is the same whichever cases go before it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def setup(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pairs", dir=os.environ.get("SOAK_DIR")))
        predictor()

    def __call__(self, case: int) -> str:
        chance = random.Random(f"{self.seed} {case}")
        name, suffix = chance.choice(NAMES) if chance.random() < 0.2 else "a", chance.choice(SUFFIXES)
        folder = self.folder / "case"
        for kind in ("image", "trimap", "out"):
            (folder / kind).mkdir(parents=True)
        try:
            pair = Pair(name, folder / "image" / f"{name}{suffix}", folder / "trimap" / f"{name}.png")
            make(pair.image, all_images(), chance)
            make(pair.trimap, all_trimaps(), chance if chance.random() < 0.4 else _Whole(chance))
            if chance.random() < 0.3:
                pair = replace(pair, trimap=None, mask=pair.trimap)
            if chance.random() < 0.3:
                read_mask(pair.image, "instances")  # any kind of file
            read_metadata(pair.image)
            return self.matte(pair, folder / "out" / f"{name}.png")
        except ValueError as error:  # names are shown as they are; escaping them is the logging's work
            raise ValueError(str(error).replace(name, "NAME")) from error
        finally:
            shutil.rmtree(folder)

    def matte(self, pair: Pair, output: Path) -> str:
        image, trimap = read_pair(pair)
        alpha = predictor().predict(image, trimap)
        write_alpha(output, alpha)
        if read_alpha(output).shape != trimap.shape:
            raise AssertionError("the alpha that was written is not whole")
        return f"{trimap.shape}"


class _Whole:
    """Draws like another generator, but never damage."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def random(self) -> float:
        return 0.2

    def choice(self, items: list) -> object:
        return self.chance.choice(items)
