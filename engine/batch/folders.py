"""Batch matting: planning, resuming, concurrent reading and writing, errors per file."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from data.files import (
    FileError,
    check_outputs,
    make_folder,
    read_bytes,
    read_image,
    read_trimap,
    reason,
    remove_leftovers,
)
from data.folders import Pair
from data.guidance import Guidance
from data.records import fingerprint, refuse_foreign
from data.trimap import is_unknown
from engine.batch.outputs import Outputs
from engine.batch.trimaps import solve
from modeling.inference.memory import give_back, peak
from modeling.inference.predictor import Matte

logger = logging.getLogger(__name__)

ALPHA_ONLY = Outputs()
BY_PICTURE = Guidance()


class Predicts(Protocol):
    """Interface of a predictor, as folder runs use it."""

    def predict(self, image: np.ndarray, trimap: np.ndarray, name: str) -> np.ndarray:
        """Alpha, float32 (H, W), of image uint8 (H, W, 3) and trimap uint8 (H, W)."""

    def run(self, image: np.ndarray, trimap: np.ndarray, name: str) -> Matte:
        """Alpha with the routing maps."""


@dataclass(frozen=True)
class Job:
    """A pair and the file that its alpha goes to."""

    pair: Pair
    output: Path


@dataclass
class Report:
    """Outcome of the jobs; `failures` are (name, reason).

    Tokens are those of all routed blocks together.
    """

    done: int = 0
    skipped: int = 0
    pixels: int = 0
    tokens: int = 0
    tokens_kept: int = 0
    seconds: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)

    def summary(self) -> str:
        """One line without memory, which is the device's to know."""
        speed = self.pixels / 1e6 / self.seconds if self.seconds else 0.0
        counts = f"{self.done} done, {len(self.failures)} failed, {self.skipped} skipped"
        kept = f", {self.tokens_kept / self.tokens:.1%} of tokens in full attention" if self.tokens else ""
        return f"{counts} in {self.seconds:.1f} s, {speed:.2f} megapixels per second{kept}"

    def count(self, matte: Matte) -> None:
        """Record a matte that was written."""
        self.done += 1
        self.pixels += matte.alpha.size
        self.tokens += sum(keep.size for keep in matte.keep)
        self.tokens_kept += sum(int(keep.sum()) for keep in matte.keep)

    def fail(self, job: Job, error: Exception) -> None:
        """Record and log a failure in one line, its traceback for debugging."""
        reason = " ".join(str(error).split("\n", 1)[0].split())
        if not isinstance(error, ValueError) or not reason:
            reason = f"{type(error).__name__}: {reason}".rstrip(": ")
        self.failures.append((job.pair.name, reason))
        logger.error("%s: %s", job.pair.name, reason)
        logger.debug("%s", job.pair.name, exc_info=error)


def plan(
    pairs: Sequence[Pair],
    output_dir: Path,
    outputs: Outputs = ALPHA_ONLY,
    read: Iterable[Path | None] = (),
    written: Iterable[Path | None] = (),
    overwrite: bool = False,
) -> list[Job]:
    """Give each pair its output, `output_dir`/name.png; sub-folders of the input are mirrored.

    Raises:
        FileError: an output would overwrite an input, another output or, without `overwrite`, somebody's pictures.
    """
    jobs = checked([Job(pair, output_dir / f"{pair.name}.png") for pair in pairs], outputs, read, written)
    if not overwrite:
        refuse_foreign(path for job in jobs for path in outputs.paths(job.output))
    return jobs


def checked(
    jobs: list[Job],
    outputs: Outputs = ALPHA_ONLY,
    read: Iterable[Path | None] = (),
    written: Iterable[Path | None] = (),
) -> list[Job]:
    """The same jobs, after a check that no output overwrites another file.

    Args:
        read, written: further files of the command, for example a checkpoint and a summary.
    """
    inputs = [path for job in jobs for path in (job.pair.image, job.pair.trimap, job.pair.mask, job.pair.alpha)]
    inputs += [*(outputs.background.files if outputs.background else ()), *read]
    planned = [path for job in jobs for path in outputs.paths(job.output)]
    check_outputs([*planned, *filter(None, written)], filter(None, inputs))
    return jobs


def prepare_output(folder: Path) -> None:
    """Create the folder and make sure that it can be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FileError(f"{folder}: cannot be written to ({reason(error)})") from error


def run(
    predictor: Predicts,
    jobs: Sequence[Job],
    *,
    outputs: Outputs = ALPHA_ONLY,
    guidance: Guidance = BY_PICTURE,
    overwrite: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> Report:
    """Do the jobs in order, logging failures and continuing.

    While the network works on one image, the next is decoded and the last alpha is written.

    Args:
        outputs: which files a matte becomes.
        guidance: how trimaps are made for pairs without one.
        overwrite: make finished outputs again: those whose record names these settings and inputs.
        advance: called when a job has ended, successfully or not.
    """
    report = Report()
    start = time.perf_counter()
    for folder in {job.output.parent for job in jobs}:
        remove_leftovers(folder)
    with ThreadPoolExecutor(1, "reader") as reader, ThreadPoolExecutor(1, "writer") as writer:

        def load_job(index: int) -> Future | None:
            return reader.submit(_load, jobs[index], outputs, guidance, overwrite) if index < len(jobs) else None

        load, writing = load_job(0), None
        for index, job in enumerate(jobs):
            load.exception()  # waits: what is decoded further ahead than one image only costs memory
            loaded, load = load, load_job(index + 1)
            try:
                predicted = _predict(predictor, loaded, job.pair.name)
            except Exception as error:  # one bad image must not cost the others, whatever is wrong with it
                report.fail(job, error)
                advance()
                continue
            if predicted is None:
                report.skipped += 1
                advance()
                continue
            _finish(report, writing, advance)
            writing = job, writer.submit(_write, job, predicted, outputs)
        _finish(report, writing, advance)
    report.seconds = time.perf_counter() - start
    return report


def peak_memory(device: torch.device) -> str:
    """Peak memory in words: allocated on CUDA, resident otherwise."""
    where = f"on {device}" if device.type == "cuda" else "resident"
    return f"{peak(device) / 2**30:.2f} GiB {where}"


def read_pair(pair: Pair, guidance: Guidance = BY_PICTURE) -> tuple[np.ndarray, np.ndarray]:
    """Read image and trimap as a predictor takes them.

    Raises:
        ValueError: they cannot be used.
    """
    source = pair.trimap or pair.mask or (pair.image if guidance.boxes else None)
    if pair.problem or source is None:
        raise FileError(pair.problem or "no trimap")
    image = read_image(pair.image)
    trimap = read_trimap(source) if pair.trimap else guidance.trimap(image, pair.mask, solve)
    if image.shape[:2] != trimap.shape:
        sizes = [f"{array.shape[1]} x {array.shape[0]}" for array in (trimap, image)]
        raise FileError(
            f"{source}: trimap is {sizes[0]} but image is {sizes[1]} (width x height); resize the trimap first"
        )
    unknown = np.count_nonzero(is_unknown(trimap))
    if unknown == 0:
        logger.warning("%s: trimap has no unknown pixels, so the alpha is the trimap itself", source)
    elif unknown == trimap.size:
        logger.warning("%s: trimap marks every pixel as unknown; mark some foreground for a better alpha", source)
    return image, trimap


@dataclass(frozen=True)
class _Loaded:
    """Image, trimap, and the fingerprint of their files."""

    image: np.ndarray
    trimap: np.ndarray
    inputs: str


def _load(job: Job, outputs: Outputs, guidance: Guidance, overwrite: bool) -> _Loaded | None:
    """Inputs of a job; None if its outputs are finished."""
    pair = job.pair
    started = not overwrite and not pair.problem and outputs.started(job.output)
    if started and outputs.complete(job.output, _fingerprint(pair), pair.name):
        return None
    return _Loaded(*read_pair(pair, guidance), _fingerprint(pair))


def _fingerprint(pair: Pair) -> str:
    return fingerprint(read_bytes(path) for path in (pair.image, pair.trimap or pair.mask) if path)


@dataclass(frozen=True)
class _Predicted:
    loaded: _Loaded
    matte: Matte


def _predict(predictor: Predicts, loading: Future, name: str) -> _Predicted | None:
    loaded = loading.result()
    return None if loaded is None else _Predicted(loaded, predictor.run(loaded.image, loaded.trimap, name))


def _write(job: Job, predicted: _Predicted, outputs: Outputs) -> Matte:
    """Write the files of one matte, and return it."""
    make_folder(job.output.parent)
    loaded, matte = predicted.loaded, predicted.matte
    outputs.write(
        job.output,
        job.pair.image,
        loaded.image,
        loaded.trimap,
        matte.alpha,
        matte.keep_over_picture(),
        name=job.pair.name,
        inputs=loaded.inputs,
    )
    return matte


def _finish(report: Report, writing: tuple[Job, Future] | None, advance: Callable[[], object]) -> None:
    """Wait for a write and record what became of it."""
    if writing is None:
        return
    job, future = writing
    try:
        report.count(future.result())
    except Exception as error:  # as above: the disk may be full for this one and not for the next
        report.fail(job, error)
    give_back()
    advance()
