"""Clip matting: constant memory, resumed per frame, video written at the end."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from data.bands import FOLLOWS, Band
from data.files import FileError, check_outputs, decode, make_folder, read_alpha, real_path, remove_leftovers, to_uint8
from data.masks import binary
from data.products.clips import (
    VIDEO_KINDS,
    Clip,
    Frame,
    SequenceClip,
    VideoClip,
    has_sound,
    open_clip,
    pair_frames,
    write_video,
)
from data.products.steady import Steady
from data.records import fingerprint, refuse_foreign
from data.trimap import snap_trimap
from engine.batch.folders import Predicts
from engine.batch.outputs import Outputs
from engine.batch.trimaps import solve
from engine.batch.working_folder import WorkingFolder

logger = logging.getLogger(__name__)

LONGEST = 10**8  # frames from the first number to the last of a sequence that becomes a video


@dataclass(frozen=True)
class ClipJob:
    """Clip with trimaps or masks, and its output.

    Attributes:
        guide: trimaps, or masks that trimaps are made from.
        output: a video file by its suffix, else the folder of the frames.
        rate: frames per second where the clip does not state them.
        band: of the trimaps made from masks.
        steadiness: strength of `Steady`, 0 for every frame by itself. A steadied clip is not resumed: each frame
            depends on the one before.
    """

    clip: Clip
    guide: Clip
    guide_is_mask: bool
    output: Path
    outputs: Outputs
    rate: Fraction = Fraction(25)
    band: Band = FOLLOWS
    steadiness: float = 0.0

    def __post_init__(self) -> None:
        Steady(self.steadiness)  # refuses strengths out of range before anything is written
        if len(self.outputs.kinds) != 1:
            raise ValueError(f"a clip is written as one kind, not {', '.join(self.outputs.kinds)}")
        if not self.is_video:
            return
        if self.outputs.suffix != ".png" or self.outputs.depth not in (None, "8"):
            raise ValueError("a format and a depth are for frames in a folder; a video has those of its kind")
        if self.outputs.premultiplied:
            raise ValueError("videos are written with straight colours; premultiply frames in a folder instead")
        if self.kind == "rgba" and not VIDEO_KINDS[self.output.suffix.lower()].with_alpha:
            transparent = ", ".join(suffix for suffix, kind in VIDEO_KINDS.items() if kind.with_alpha)
            raise ValueError(
                f"{self.output}: {self.output.suffix} files hold no alpha; choose one of {transparent}, or another "
                "--output-kind, for example composite"
            )
        if isinstance(self.clip, SequenceClip) and max(self.clip.files) - min(self.clip.files) > LONGEST:
            first, last = min(self.clip.files), max(self.clip.files)
            raise FileError(f"frames {first} to {last} are too many for a video: renumber them, or write frames")

    @property
    def kind(self) -> str:
        """The one kind of output."""
        return self.outputs.kinds[0]

    @property
    def is_video(self) -> bool:
        """True if a video is written."""
        return self.output.suffix.lower() in VIDEO_KINDS

    @property
    def folder(self) -> Path:
        """Folder of the frames, removed after a video is encoded."""
        return self.output.with_name(f"{self.output.name}.frames") if self.is_video else self.output

    def frame_path(self, frame: Frame) -> Path:
        """File of one frame."""
        return self.outputs.path(self.folder / f"{frame.name}.png", self.kind)


def open_job(
    clip: Path,
    guide: Path,
    guide_is_mask: bool,
    output: Path,
    outputs: Outputs,
    rate: Fraction,
    band: Band = FOLLOWS,
    steadiness: float = 0.0,
    read: Iterable[Path | None] = (),
    written: Iterable[Path | None] = (),
) -> ClipJob:
    """Open the inputs, and refuse outputs that would overwrite them.

    Args:
        read, written: further files of the command, for example a checkpoint and a summary.
    """
    job = ClipJob(open_clip(clip), open_clip(guide), guide_is_mask, output, outputs, rate, band, steadiness)
    backgrounds, read, written = outputs.background.files if outputs.background else (), tuple(read), tuple(written)
    check_outputs([output, *filter(None, written)], [clip, guide, *backgrounds, *filter(None, read)])
    if not job.is_video and output.suffix:
        raise FileError(f"{output}: videos are {', '.join(VIDEO_KINDS)}; name one of them, or a folder for the frames")
    for folder in filter(Path.is_dir, (clip, guide)):
        if _nested(folder, job.folder):
            raise FileError(
                f"{job.folder}: the frames would lie in {folder}, which is read, or around it; choose another output"
            )
    for path in filter(None, (*backgrounds, *read, *written)):
        if _is_frame(job, path):
            raise FileError(f"{path}: would be overwritten by a frame; choose another output")
    if job.is_video:
        WorkingFolder(job.folder).check()
    elif job.folder.is_dir():
        refuse_foreign(path for path in sorted(job.folder.iterdir()) if _is_frame(job, path))
    return job


def _is_frame(job: ClipJob, path: Path) -> bool:
    """True for names of frames in the folder of frames."""
    if real_path(path.parent) != real_path(job.folder) or path.suffix != job.outputs.path(path, job.kind).suffix:
        return False
    if isinstance(job.clip, SequenceClip):
        return path.stem in {file.stem for file in job.clip.files.values()}
    return path.stem.isdecimal()


def _nested(one: Path, other: Path) -> bool:
    """True if one folder is or contains the other."""
    paths = Path(real_path(one)), Path(real_path(other))
    return paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0])


def run_clip(predictor: Predicts, job: ClipJob, advance: Callable[[], object] = lambda: None) -> tuple[int, int]:
    """Matte the unfinished frames; returns the numbers of made and all frames."""
    if not job.is_video:
        make_folder(job.folder)
        return _run(predictor, job, advance)
    working = WorkingFolder(job.folder)
    with working.locked():
        counts = _run(predictor, job, advance)
        sound = _sound(job)
        write_video(job.output, _finished(job), job.clip.rate or job.rate, job.clip.time_base, sound)
        working.remove(job.frame_path(frame) for frame in job.clip)
    return counts


def _run(predictor: Predicts, job: ClipJob, advance: Callable[[], object]) -> tuple[int, int]:
    for folder in {job.folder, job.output.parent}:
        remove_leftovers(folder)
    made = total = 0
    steady = Steady(job.steadiness) if job.steadiness else None
    for frame, guide in pair_frames(job.clip, job.guide):
        total += 1
        made += _matte(predictor, job, frame, guide, steady)
        advance()
    if total == 0:
        raise FileError("the clip has no frames")
    if not job.is_video and (sound := _sound(job)):
        logger.info("%s: has sound, which frames in a folder cannot hold", sound)
    return made, total


def _sound(job: ClipJob) -> Path | None:
    """The video whose sound belongs to the clip."""
    return job.clip.path if isinstance(job.clip, VideoClip) and has_sound(job.clip.path) else None


def _matte(predictor: Predicts, job: ClipJob, frame: Frame, guide: Frame, steady: Steady | None) -> bool:
    """Make the file of one frame; False if it is finished already."""
    image, values = frame.pixels(), np.ascontiguousarray(guide.pixels()[..., 0])
    if values.shape != image.shape[:2]:
        sizes = [f"{shape[1]} x {shape[0]}" for shape in (values.shape, image.shape)]
        raise FileError(f"frame {frame.number}: trimap or mask is {sizes[0]}, but the frame is {sizes[1]}")
    output, inputs = job.folder / f"{frame.name}.png", fingerprint([image, values])
    if steady is None and job.frame_path(frame).exists() and job.outputs.complete(output, inputs):
        return False
    if job.guide_is_mask:
        trimap = job.band.trimap(image, binary(values), solve)
    else:
        trimap = snap_trimap(values)
    matte = predictor.run(image, trimap, frame.name)
    if steady is not None:
        matte = replace(matte, alpha=steady(image, trimap, matte.alpha))
    job.outputs.write(output, None, image, trimap, matte.alpha, matte.keep_over_picture(), inputs=inputs)
    return True


def _finished(job: ClipJob) -> Iterator[tuple[int | None, np.ndarray]]:
    """Time and pixels of the frames that were written."""
    first = None
    for frame in job.clip:
        path = job.frame_path(frame)
        if frame.time is None:  # gaps in the numbers are gaps in time
            first = frame.number if first is None else first
            time = frame.number - first
        else:
            time = frame.time
        if job.kind == "alpha":
            yield time, to_uint8(read_alpha(path))
        else:
            yield time, decode(path, alpha=job.kind == "rgba").pixels
