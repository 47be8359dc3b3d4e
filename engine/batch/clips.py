"""A run over the frames of a clip: constant memory, resumed frame by frame, a video encoded at the end."""

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from data.files import FileError, check_outputs, read_alpha, remove_leftovers, snap_trimap, write_alpha
from data.masks import trimap_from_mask
from data.products.clips import VIDEO_KINDS, Clip, Frame, open_clip, pair_frames, write_video
from data.products.colours import extend_colours, quantise, write_colours
from data.products.previews import over
from engine.batch.folders import Predicts
from engine.batch.kinds import CLIP_KINDS
from engine.batch.outputs import Outputs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipJob:
    """What is to be done with a clip.

    Attributes:
        guide: trimaps, or masks that trimaps are made from.
        output: a video file by its suffix, else the folder of the frames.
        rate: frames a second where the clip does not say it.
    """

    clip: Clip
    guide: Clip
    guide_is_mask: bool
    output: Path
    outputs: Outputs
    rate: Fraction = Fraction(25)

    def __post_init__(self) -> None:
        if len(self.outputs.kinds) != 1 or self.kind not in CLIP_KINDS:
            raise ValueError(
                f"clips are written as one of {', '.join(CLIP_KINDS)}, not {', '.join(self.outputs.kinds)}"
            )
        if self.is_video and (self.outputs.suffix != ".png" or self.outputs.depth not in (None, "8")):
            raise ValueError("a format and a depth are for frames in a folder; a video has those of its kind")
        if self.outputs.premultiplied and self.is_video:
            raise ValueError("videos are written with straight colours; premultiply frames in a folder instead")

    @property
    def kind(self) -> str:
        """What the frames become."""
        return self.outputs.kinds[0]

    @property
    def is_video(self) -> bool:
        """Whether a video is written."""
        return self.output.suffix.lower() in VIDEO_KINDS

    @property
    def folder(self) -> Path:
        """Where the frames go; for a video, until it is encoded."""
        return self.output.with_name(f"{self.output.name}.frames") if self.is_video else self.output

    def frame_path(self, frame: Frame) -> Path:
        """The file of one frame."""
        return self.outputs.path(self.folder / f"{frame.name}.png", self.kind)


def open_job(clip: Path, guide: Path, guide_is_mask: bool, output: Path, outputs: Outputs, rate: Fraction) -> ClipJob:
    """Open what is read and make sure that nothing of it is written over."""
    job = ClipJob(open_clip(clip), open_clip(guide), guide_is_mask, output, outputs, rate)
    check_outputs([output], [clip, guide])
    if not job.is_video and output.suffix:
        raise FileError(f"{output}: videos are {', '.join(VIDEO_KINDS)}; name one of them, or a folder for the frames")
    return job


def run_clip(predictor: Predicts, job: ClipJob, advance: Callable[[], object] = lambda: None) -> tuple[int, int]:
    """Matte all frames that are not there yet; returns how many were made and how many there are."""
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{job.folder}: cannot be created ({error.strerror})") from error
    for folder in {job.folder, job.output.parent}:
        remove_leftovers(folder)
    made = total = 0
    for frame, guide in pair_frames(job.clip, job.guide):
        total += 1
        if not job.frame_path(frame).is_file():
            _matte(predictor, job, frame, guide)
            made += 1
        advance()
    if total == 0:
        raise FileError("the clip has no frames")
    if job.is_video:
        write_video(job.output, _finished(job), job.clip.rate or job.rate, job.clip.time_base)
        shutil.rmtree(job.folder)
    return made, total


def _matte(predictor: Predicts, job: ClipJob, frame: Frame, guide: Frame) -> None:
    image, values = frame.pixels(), np.ascontiguousarray(guide.pixels()[..., 0])
    if values.shape != image.shape[:2]:
        raise FileError(f"frame {frame.number}: trimap or mask is {values.shape}, but the frame is {image.shape[:2]}")
    if job.guide_is_mask:
        trimap = trimap_from_mask(np.where(values >= 128, np.uint8(255), np.uint8(0)))
    else:
        trimap = snap_trimap(values)
    alpha, outputs, path = predictor.predict(image, trimap, frame.name), job.outputs, job.frame_path(frame)
    if job.kind == "alpha":
        write_alpha(path, alpha, outputs.bit_depth)
        return
    colours = outputs.foreground(image, alpha)
    if job.kind == "composite":
        colours = over(colours, alpha, outputs.background.picture("", *alpha.shape))
    else:
        colours = extend_colours(colours, alpha)
    layers = (colours, alpha) if job.kind == "rgba" else (colours,)
    write_colours(path, *layers, depth=outputs.colour_depth, premultiplied=outputs.premultiplied)


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
            alpha = read_alpha(path)
            yield time, alpha if alpha.dtype == np.uint8 else quantise(alpha / np.float32(65535), 8)
        else:
            pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            yield time, np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])
