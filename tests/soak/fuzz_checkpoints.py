"""Damaged and hostile checkpoints, through everything that reads one."""

import collections
import io
import json
import logging
import os
import pickle
import random
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from engine.build import load_config, shipped_config
from engine.training.checkpoint import AtomicCheckpointer
from engine.training.session import prepare
from modeling.checkpoints.initial import initialise
from modeling.checkpoints.weights import load_weights
from modeling.inference.predictor import Predictor
from tests.modeling.small import small_mematte
from tests.soak.fuzz_pairs import NO_FILES
from tests.soak.pictures import damaged, scene, trimap

TINY = Path(__file__).parents[1] / "engine" / "training" / "tiny.py"
ATTACKED = "attacked"


class Code:
    """Makes a folder where it is unpickled carelessly."""

    def __reduce__(self) -> tuple:
        return os.mkdir, (ATTACKED,)


class Call:
    """Calls something harmless-looking where it is unpickled."""

    def __init__(self, function: Callable, *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple:
        return self.call


@cache
def weights() -> dict[str, Tensor]:
    return small_mematte().state_dict()


def saved(content: object, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


@cache
def run_checkpoint() -> bytes:
    """The checkpoint of a training run."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, _ = prepare(load_config(TINY, [f"train.output_dir={folder}"]), "tiny", resume=False)
        checkpointer = AtomicCheckpointer(trainer.model, folder, trainer.manifest, trainer=trainer)
        trainer.iter = 3
        checkpointer.save("model_0000003", iteration=3)
        return Path(folder, "model_0000003.pth").read_bytes()


def with_tensor(value: object) -> Callable[[random.Random], dict]:
    def content(chance: random.Random) -> dict:
        state = dict(weights())
        state[chance.choice(list(state))] = value(chance) if callable(value) else value
        return {"model": state}

    return content


def _nested(chance: random.Random) -> object:
    content: object = 1
    for _ in range(chance.choice((500, 5000))):
        content = pickle.dumps(content) if chance.random() < 0.001 else [content]
    return content


def _repeated(chance: random.Random) -> Tensor:
    return torch.ones(1).expand(chance.choice((10**6, 10**9, 2**40)))


def _broken(chance: random.Random) -> Tensor:
    value = chance.choice([value for value in weights().values() if value.is_floating_point()]).clone()
    value.view(-1)[chance.randrange(value.numel())] = chance.choice((float("nan"), float("inf"), -float("inf")))
    return value


CONTENTS: dict[str, Callable[[random.Random], object]] = {
    "plain": lambda chance: {"model": dict(weights())},
    "code": lambda chance: {"model": dict(weights()), "extra": Code()},
    "code as a weight": with_tensor(Code()),
    "memory": lambda chance: {"model": dict(weights()), "extra": Call(bytearray, 10 ** chance.randint(9, 13))},
    "counter": lambda chance: collections.Counter("abc"),
    "evaluation": lambda chance: {"model": Call(eval, f"__import__('os').mkdir('{ATTACKED}')")},
    "getattr": lambda chance: {"model": Call(getattr, "text", "join")},
    "wrong shape": with_tensor(lambda chance: torch.zeros([chance.randint(0, 9) for _ in range(chance.randint(0, 5))])),
    "wrong type": with_tensor(
        lambda chance: torch.zeros(
            32,
            dtype=chance.choice(
                (torch.complex64, torch.bool, torch.int64, torch.uint8, torch.float64, torch.float8_e4m3fn)
            ),
        )
    ),
    "no tensor": with_tensor(lambda chance: chance.choice((None, 1, "text", [1], {}, b"bytes"))),
    "sparse": with_tensor(torch.eye(32).to_sparse()),
    "quantised": with_tensor(torch.quantize_per_tensor(torch.ones(32), 0.1, 0, torch.qint8)),
    "without data": with_tensor(torch.empty(32, device="meta")),
    "repeated": with_tensor(_repeated),
    "not finite": lambda chance: {"model": dict(weights()) | _broken_weights(chance)},
    "huge": lambda chance: {"model": {name: value * 1e38 for name, value in weights().items()}},
    "names": lambda chance: {chance.choice(("\n", "\x1b[2J", "x" * 10**6, "ä", "")): torch.ones(2)} | dict(weights()),
    "number as a name": lambda chance: {"model": {7: torch.ones(2), (1, 2): torch.ones(1)}},
    "list": lambda chance: [torch.ones(2)],
    "one tensor": lambda chance: torch.ones(3),
    "model of model": lambda chance: {"model": {"model": {"state_dict": dict(weights())}}},
    "nested": _nested,
    "prefixed": lambda chance: {f"module.{name}": value for name, value in weights().items()},
}


def _broken_weights(chance: random.Random) -> dict[str, Tensor]:
    value = _broken(chance)
    return {name: value.clone() for name, own in weights().items() if own.shape == value.shape}


def safetensors_with(header: dict, data: bytes = b"", length: int | None = None) -> bytes:
    """A file whose header says what it likes."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def safetensors(chance: random.Random) -> bytes:
    """Safetensors file: whole, with other metadata, or with a wrong header."""
    lot = chance.random()
    config = chance.choice(
        ("MEMatte_S_finetune", "../../evil", "/etc/passwd", "configs/x.py", "a\nb", "x" * 10**5, "ä", "")
    )
    if lot < 0.2:
        return save(dict(weights()), {"config": config})
    if lot < 0.4:
        state = dict(weights()) | _broken_weights(chance)
        return save(state if chance.random() < 0.5 else {name: value.half() for name, value in weights().items()})
    big = chance.choice((0, 1, 2**31, 2**53, 2**62))
    entry = {
        "dtype": chance.choice(("F32", "F64", "I8", "BOOL", "X", 3)),
        "shape": [big, chance.choice((1, big))],
        "data_offsets": [0, chance.choice((0, 4, big))],
    }
    header = {
        chance.choice((*weights(), "\n", "x" * 10**6)): entry,
        "__metadata__": chance.choice(({}, {"a": 1}, [], "x")),
    }
    return safetensors_with(header, bytes(chance.choice((0, 4, 100))), chance.choice((None, 0, 7, 2**40, 2**64 - 1)))


def compressed(chance: random.Random) -> bytes:
    """A checkpoint whose archive is a decompression bomb."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(dict(weights())))) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            data = bytes(3 * 10**7) if name.endswith("/1") else old.read(name)
            new.writestr(name, data, zipfile.ZIP_DEFLATED if chance.random() < 0.7 else zipfile.ZIP_STORED)
    return buffer.getvalue()


def hostile(chance: random.Random) -> bytes:
    """Small file that asks for much: recursive pickles, huge headers."""
    depth, count = chance.choice((5, 40, 120)), chance.choice((10, 10**5, 9 * 10**6))
    chain = b")" + b"q\x00h\x00h\x00\x86" * depth + b"q\x00"
    pickled = chance.choice(
        (
            chain + b"}h\x00h\x00s\x86.",
            chain + b"ccollections\nCounter\n}h\x00K\x01s\x85R\x86.",
            chain + b".",
            b"]q\x00" + b"h\x00a" * count + b".",
            b"(" + b"]" * count + b"t.",
            b"(" + b"}K\x01Ns" * (count // 4) + b"t.",
            b"X" + struct.pack("<I", count) + b"x" * count + b"q\x00(" + b"c_codecs\nencode\nh\x00\x85R" * 50 + b"t.",
        )
    )
    if chance.random() < 0.3:
        return safetensors_with({"__metadata__": {"config": "x" * count}} | {str(i): [] for i in range(count // 30)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(dict(weights())))) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"\x80\x02" + pickled if name.endswith("data.pkl") else old.read(name))
    return buffer.getvalue() if chance.random() < 0.7 else b"\x80\x02" + pickled


def make(path: Path, chance: random.Random) -> None:
    """Lay a checkpoint down."""
    lot = chance.random()
    if lot < 0.03:
        chance.choice(NO_FILES)(path)
        return
    if lot < 0.08:
        path.write_bytes(hostile(chance))
        return
    if lot < 0.35:
        content = safetensors(chance) if path.suffix == ".safetensors" else compressed(chance)
    elif lot < 0.5:
        content = run_checkpoint()
    else:
        try:
            content = saved(chance.choice(list(CONTENTS.values()))(chance), chance.random() < 0.6)
        except (RecursionError, RuntimeError, NotImplementedError):  # torch itself cannot write this one
            content = b""
    path.write_bytes(content if chance.random() < 0.4 else damaged(content, chance))


def predict(path: Path) -> str:
    model = small_mematte()
    load_weights(model, path)
    image, known = scene(_rng())[..., :3].copy(), trimap(_rng())
    return str(Predictor(model, device="cpu").predict(image, known).mean())


def start(path: Path) -> str:
    initialise(small_mematte(), path)
    return "started"


def resume(path: Path) -> str:
    folder = path.parent / "run"
    folder.mkdir()
    if path.is_file() and path.stat().st_size < 10**8:
        shutil.copy(path, folder / "model_0000003.pth")
    (folder / "last_checkpoint").write_text("model_0000003.pth")
    prepare(load_config(TINY, [f"train.output_dir={folder}"]), "tiny", resume=True)
    return "resumed"


def export(path: Path) -> str:
    from tools.export_checkpoint import main

    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append
    logging.getLogger().addHandler(handler)
    try:
        if main([str(path), str(path.with_name("exported.safetensors"))]):
            raise ValueError(records[-1].getMessage())
    finally:
        logging.getLogger().removeHandler(handler)
    return "exported"


def config_of(path: Path) -> str:
    return str(shipped_config(path))


READERS = (predict, predict, predict, start, resume, export, config_of)


def _rng():
    import numpy as np

    return np.random.default_rng(0)


class Checkpoints:
    """Case k is the same whichever cases go before it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def setup(self) -> None:
        torch.set_num_threads(1)
        self.folder = Path(tempfile.mkdtemp(prefix="checkpoints", dir=os.environ.get("SOAK_DIR")))
        os.chdir(self.folder)
        run_checkpoint()

    def __call__(self, case: int) -> str:
        chance = random.Random(f"{self.seed} {case}")
        folder = self.folder / "case"
        folder.mkdir()
        path = folder / f"model{chance.choice(('.pth', '.safetensors'))}"
        try:
            make(path, chance)
            return chance.choice(READERS)(path)
        finally:
            shutil.rmtree(folder)
            if Path(ATTACKED).exists():
                raise AssertionError("code in a checkpoint was run")
