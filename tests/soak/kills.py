"""SIGKILL at random moments: files stay whole, resumed runs end alike."""

import importlib
import json
import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

import inference
import train
from data.files import FileError, read_colours
from data.products.clips import open_clip, write_video
from tests.modeling.small import small_mematte
from tests.soak.pictures import scene, trimap
from tools import matte_clip, prepare_composition1k

PRELOADED = (  # by processes that give up the right to read this folder
    "engine.batch.folders",
    "engine.batch.outputs",
    "engine.batch.processes",
    "engine.build",
    "modeling.inference.predictor",
    "data.guidance",
    "data.selections",
    "data.products.backgrounds",
    "data.records",
    "tqdm.contrib.logging",
)

ROOT = Path(__file__).resolve().parents[2]
CONFIG, TINY = str(Path(__file__).with_name("small.py")), str(ROOT / "tests" / "engine" / "training" / "tiny.py")
KILLS_IN_A_ROW = 4
CLOCK = ("time", "data_wait", "images_per_second")

State = dict[str, object]


@dataclass
class Kills:
    """Outcome of a number of kills.

    Attributes:
        leftovers: temporary files that were still there in the end.
        half: files that were there but not whole after a kill.
        lost: files that were finished before a resumed run and not after it, or missing at its end.
        unequal: rounds that did not end where the undisturbed run did.
    """

    name: str
    kills: int = 0
    rounds: int = 0
    half: int = 0
    lost: int = 0
    unequal: int = 0
    leftovers: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        return self.half + self.lost + self.unequal + self.leftovers


@dataclass(frozen=True)
class Task:
    """A command that is killed.

    Attributes:
        main: the script; called with `arguments(output folder)`.
        state: what the output folder holds, by name; raises FileError for a file that is not whole.
    """

    name: str
    main: Callable[[list[str]], int]
    arguments: Callable[[Path], list[str]]
    state: Callable[[Path], State]


def start(main: Callable[[list[str]], int], arguments: list[str], log: Path | None = None) -> multiprocessing.Process:
    """Start a script in its own process, with all modules loaded."""
    for module in PRELOADED:
        importlib.import_module(module)
    process = multiprocessing.get_context("fork").Process(target=_run, args=(main, arguments, log))
    process.start()
    return process


def _run(main: Callable[[list[str]], int], arguments: list[str], log: Path | None) -> None:
    os.setpgrp()  # so that its own workers can be ended with it
    torch.set_num_threads(1)
    cv2.setNumThreads(1)  # threads do not survive a fork
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    target = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.chdir(ROOT)
    try:
        code = main(arguments)
    except SystemExit as error:
        code = error.code
    except BaseException as error:
        os.write(2, f"Traceback: {type(error).__name__}: {error}\n".encode())
        code = 99
    os._exit(code or 0)


def kill_and_resume(task: Task, kills: int, folder: Path, seed: int = 0) -> Iterator[Kills]:
    """Kill the task at `kills` random moments, with complete runs between.

    Some kills follow each other; each is reported.
    """
    result, chance = Kills(task.name), random.Random(seed)
    began = time.perf_counter()
    whole = start(task.main, task.arguments(folder / "whole"), folder / "log.txt")
    whole.join()
    duration = time.perf_counter() - began
    wanted = task.state(folder / "whole")
    if whole.exitcode or not wanted:
        raise AssertionError(f"{task.name}: the undisturbed run failed: {(folder / 'log.txt').read_text()[-500:]}")
    while result.kills < kills:
        output = folder / "killed"
        finished: State = {}
        for _ in range(min(KILLS_IN_A_ROW, kills - result.kills)):
            finished = _kill_once(task, output, chance.uniform(0, duration), finished, wanted, result)
        last = start(task.main, task.arguments(output), folder / "log.txt")
        last.join()
        _compare(task, output, last.exitcode, wanted, result)
        shutil.rmtree(output)
        result.rounds += 1
        yield result


def _kill_once(task: Task, output: Path, seconds: float, finished: State, wanted: State, result: Kills) -> State:
    process = start(task.main, task.arguments(output))
    process.join(seconds)
    result.kills += process.exitcode is None  # else it was faster than the undisturbed run
    process.kill()
    process.join()
    try:
        state = task.state(output)
    except FileError as error:
        result.half += 1
        result.notes.append(f"{task.name}: {error}")
        return {}
    result.lost += len(finished.keys() - state.keys())
    return {name: value for name, value in state.items() if name in wanted}


def _compare(task: Task, output: Path, code: int, wanted: State, result: Kills) -> None:
    found = task.state(output)
    result.lost += len(wanted.keys() - found.keys())
    if code or any(not np.array_equal(wanted[name], found[name]) for name in wanted.keys() & found.keys()):
        result.unequal += 1
        result.notes.append(f"{task.name}: exit code {code}, or another result than undisturbed")
    result.leftovers += len([path for path in output.rglob("*") if path.name.endswith(".tmp")])


def pictures_in(folder: Path) -> State:
    """All visible pictures below folder."""
    paths = [path for path in sorted(folder.rglob("*.png")) if not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): read_colours(path) for path in paths}


def frames_of_video(folder: Path) -> State:
    """Frames of `clip.mkv`, or its frame folder before it exists."""
    video = folder / "clip.mkv"
    if not video.exists():
        pictures_in(folder)
        return {}
    frames = list(open_clip(video))
    return {f"{frame.number} at {frame.time}": frame.pixels() for frame in frames}


def curve_and_weights(folder: Path) -> State:
    """The last record of every iteration, and what the final checkpoint holds."""
    state: State = {}
    metrics, pointer, end = folder / "metrics.json", folder / "last_checkpoint", folder / "model_final.pth"
    for line in metrics.read_text().splitlines() if metrics.exists() else ():
        try:
            record = json.loads(line)
        except ValueError as error:
            raise FileError(f"{metrics}: half a line") from error
        figures = {key: value for key, value in record.items() if not any(word in key for word in CLOCK)}
        state[f"iteration {record['iteration']}"] = json.dumps(figures, sort_keys=True)
    if pointer.exists():
        try:
            torch.load(folder / pointer.read_text(), weights_only=True)
        except Exception as error:
            raise FileError(f"{pointer}: names a checkpoint that cannot be loaded ({error})") from error
    if end.exists():
        content = torch.load(end, weights_only=True)
        state["weights"] = json.dumps({name: _digest(value) for name, value in content["model"].items()})
        state["random"] = json.dumps(content["random"][0]["torch"].tolist())
    return state


def _digest(value: torch.Tensor) -> str:
    return value.contiguous().view(-1).view(torch.uint8).numpy().tobytes().hex() if value.dim() else str(value.item())


def write_pairs(folder: Path, count: int, side: int = 64) -> None:
    """Data folder of small images and trimaps, partly in a sub-folder."""
    rng = np.random.default_rng(0)
    for index in range(count):
        image, known = scene(rng)[..., :3], trimap(rng)
        size = (side - index % 5, side + index % 7)
        name = f"sub/{index:03d}.png" if index % 3 == 0 else f"{index:03d}.png"
        for kind, pixels in (("image", cv2.resize(image, size)), ("trimap", cv2.resize(known, size, interpolation=0))):
            path = folder / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels)


def write_model(folder: Path) -> Path:
    path = folder / "model.pth"
    torch.save(small_mematte().state_dict(), path)
    return path


def inference_task(folder: Path, images: int = 12) -> Task:
    write_pairs(folder / "data", images)
    model = ["--config", CONFIG, "--checkpoint", str(write_model(folder)), "--device", "cpu", "--bit-depth", "16"]
    return Task(
        "inference.py",
        inference.main,
        lambda output: [*model, "--data", str(folder / "data"), "--output-dir", str(output)],
        pictures_in,
    )


def train_task(folder: Path, iterations: int = 12) -> Task:
    settings = [f"train.max_iter={iterations}", "train.checkpoint_period=2", "train.max_checkpoints=2"]
    return Task(
        "train.py",
        train.main,
        lambda output: ["--config-file", TINY, "--resume", *settings, f"train.output_dir={output}"],
        curve_and_weights,
    )


def composition_task(folder: Path) -> Task:
    rng = np.random.default_rng(0)
    for kind, names in (("fg", 3), ("alpha", 3), ("bg", 12)):
        (folder / kind).mkdir()
        for index in range(names):
            shape = (180, 200) if kind == "alpha" else (180, 200, 3)
            cv2.imwrite(str(folder / kind / f"{index}.png"), rng.integers(0, 256, shape, np.uint8))
    (folder / "fg.txt").write_text("".join(f"{index}.png\n" for index in range(3)))
    (folder / "bg.txt").write_text("".join(f"{index}.png\n" for index in range(12)))
    inputs = [
        *("--foregrounds", str(folder / "fg"), "--alphas", str(folder / "alpha"), "--backgrounds", str(folder / "bg")),
        *("--foreground-list", str(folder / "fg.txt"), "--background-list", str(folder / "bg.txt"), "--each", "4"),
    ]
    return Task(
        "prepare_composition1k.py",
        prepare_composition1k.main,
        lambda output: [*inputs, "--workers", "1", "--output", str(output)],
        pictures_in,
    )


def clip_task(folder: Path) -> Task:
    rng = np.random.default_rng(0)
    image, known = scene(rng)[..., :3], trimap(rng)
    for name, pixels in (("clip.mkv", image), ("trimaps.mkv", known)):
        frames = [(index, np.roll(pixels, index, 1)) for index in range(8)]
        write_video(folder / name, frames, Fraction(24), Fraction(1, 24))
    model = ["--config", CONFIG, "--checkpoint", str(write_model(folder)), "--device", "cpu"]
    return Task(
        "matte_clip.py",
        matte_clip.main,
        lambda output: [
            str(folder / "clip.mkv"),
            str(_made(output) / "clip.mkv"),
            "--trimaps",
            str(folder / "trimaps.mkv"),
            *model,
        ],
        frames_of_video,
    )


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


TASKS = {"inference": inference_task, "train": train_task, "composition": composition_task, "clip": clip_task}
