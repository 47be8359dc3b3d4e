"""Clips, one frame in memory at a time: numbered pictures or videos."""

import logging
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from data.files import IMAGE_SUFFIXES, FileError, check_file, read_image, reason, replacing

logger = logging.getLogger(__name__)

_CONTAINERS = "mov,matroska,webm,avi,mpegts,mpeg,mxf,ogg,flv,asf,nut,dv,ivf,m4v,h264,hevc,gif,apng"
_NUMBER = re.compile(r"(\d+)$")


@dataclass(frozen=True)
class Frame:
    """One frame; `pixels()` decodes it as uint8 (H, W, 3) RGB, upright.

    Attributes:
        number: as in the file's name, or counted from 0 in a video.
        name: what files made from it are called.
        time: in units of the clip's time base; None in a folder.
    """

    number: int
    name: str
    pixels: Callable[[], np.ndarray]
    time: int | None = None


class SequenceClip:
    """Folder of pictures whose names end in numbers; gaps are kept."""

    rate: Fraction | None = None
    time_base: Fraction | None = None

    def __init__(self, folder: Path) -> None:
        self.files: dict[int, Path] = {}
        for path in sorted(folder.iterdir()):
            found = _NUMBER.search(path.stem)
            if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith(".") or not found:
                continue
            if (number := int(found[1])) in self.files:
                raise FileError(f"{folder}: {self.files[number].name} and {path.name} have the same number; keep one")
            self.files[number] = path
        if not self.files:
            raise FileError(f"{folder}: holds no frames; their names must end in a number (shot_0001.png)")

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Frame]:
        for number, path in sorted(self.files.items()):
            yield Frame(number, path.stem, lambda path=path: read_image(path))


def _container(path: str | Path) -> av.container.InputContainer:
    """Opened video file; playlists and other texts are refused.

    They could name further files.
    """
    check_file(path, math.inf)
    # Absolute, since FFmpeg takes what stands before the colon of a relative path for a protocol.
    try:
        return av.open(os.path.abspath(path), options={"format_whitelist": _CONTAINERS})
    except (av.FFmpegError, OSError) as error:
        raise FileError(f"{path}: cannot be read as a video ({reason(error)})") from error


class VideoClip:
    """First video stream of a file, decoded on demand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as container:
            stream = container.streams.video[0]
            self.rate, self.time_base, self._length = stream.average_rate, stream.time_base, stream.frames

    def __len__(self) -> int:
        return self._length  # as the header says it; 0 where it does not

    def __iter__(self) -> Iterator[Frame]:
        with self._open() as container:
            container.streams.video[0].thread_type = "AUTO"
            frames = container.decode(video=0)
            number = 0
            while True:
                try:
                    frame = next(frames, None)
                except av.FFmpegError as error:
                    raise FileError(f"{self.path}: damaged at frame {number} ({reason(error)})") from error
                if frame is None:
                    return
                yield Frame(number, f"{number:06d}", lambda frame=frame: _upright(frame), frame.pts)
                number += 1

    def _open(self) -> av.container.InputContainer:
        container = _container(self.path)
        if not container.streams.video:
            container.close()
            raise FileError(f"{self.path}: has no video stream")
        return container


Clip = SequenceClip | VideoClip


def _upright(frame: av.VideoFrame) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def open_clip(path: str | Path) -> Clip:
    """A folder of numbered pictures or a video file."""
    path = Path(path)
    if path.is_dir():
        return SequenceClip(path)
    if not path.is_file():
        raise FileError(f"{path}: there is no such video, and no such folder of frames")
    return VideoClip(path)


def pair_frames(clip: Clip, other: Clip) -> Iterator[tuple[Frame, Frame]]:
    """Matching frames of two clips.

    By number where both are folders, otherwise one after another.
    """
    if isinstance(clip, SequenceClip) and isinstance(other, SequenceClip):
        if missing := sorted(clip.files.keys() - other.files.keys()):
            raise FileError(f"frame {missing[0]} has no trimap or mask ({len(missing)} missing)")
        others = {frame.number: frame for frame in other}
        yield from ((frame, others[frame.number]) for frame in clip)
        return
    second = iter(other)
    for count, frame in enumerate(clip):
        partner = next(second, None)
        if partner is None:
            raise FileError(f"the trimaps or masks end after {count} frames, but the clip goes on")
        yield frame, partner


@dataclass(frozen=True)
class VideoKind:
    """Container, encoder and pixel formats of a kind of video file.

    Attributes:
        with_alpha: empty where the kind holds no alpha.
        even_sides: pixels share their colours in squares of two by two, and players insist on whole squares.
    """

    container: str
    encoder: str
    with_alpha: str
    colour: str
    grey: str
    options: tuple[tuple[str, str], ...] = ()
    even_sides: bool = False


VIDEO_KINDS = {
    ".mov": VideoKind("mov", "prores_ks", "yuva444p10le", "yuv444p10le", "yuv444p10le", (("profile", "4444"),)),
    ".mkv": VideoKind("matroska", "ffv1", "bgra", "bgr0", "gray", (("level", "3"),)),
    ".webm": VideoKind("webm", "libvpx-vp9", "yuva420p", "yuv420p", "yuv420p", (("crf", "20"), ("b", "0"))),
    ".mp4": VideoKind("mp4", "libx264", "", "yuv420p", "yuv420p", (("crf", "16"),), even_sides=True),
}
_ARRAY_FORMATS = {1: "gray", 3: "rgb24", 4: "rgba"}


def write_video(
    path: str | Path,
    frames: Iterable[tuple[int | None, np.ndarray]],
    rate: Fraction,
    time_base: Fraction | None,
    sound: str | Path | None = None,
) -> int:
    """Encode frames as ProRes 4444 (.mov), FFV1 (.mkv, lossless), VP9 (.webm) or H.264 (.mp4).

    The file appears under its name once it is whole.

    Args:
        frames: time in units of time_base, or None for the next by the rate; and uint8 (H, W), (H, W, 3) or (H, W, 4),
            all of one shape.
        sound: video file whose first sound track is copied; a warning says where it cannot be.

    Returns:
        the number of frames.
    """
    path = Path(path)
    kind, unit = VIDEO_KINDS[path.suffix.lower()], time_base or 1 / rate
    count, stream, shape, tracks = 0, None, None, _SoundTrack(sound) if sound else None
    # Only QuickTime would choose another time base of its own accord.
    timing = {"video_track_timescale": str(unit.denominator)} if kind.container in ("mov", "mp4") else {}
    try:
        with (
            replacing(path) as file,
            av.open(os.path.abspath(file.name), "w", kind.container, container_options=timing) as container,
        ):
            for count, (time, pixels) in enumerate(frames, 1):
                if stream is None:
                    shape = pixels.shape
                    stream = _add_stream(container, kind, pixels, rate, unit)
                    if tracks:
                        tracks.add_to(container)
                if pixels.shape != shape:
                    sizes = [f"{size[1]} x {size[0]}" for size in (pixels.shape, shape)]
                    raise FileError(f"{path}: frame {count} is {sizes[0]}, but the first one is {sizes[1]}")
                frame = av.VideoFrame.from_ndarray(
                    _even(pixels) if kind.even_sides else pixels, format=_ARRAY_FORMATS[_channels(pixels)]
                )
                frame.pts, frame.time_base = (count - 1 if time is None else time), unit
                if tracks:
                    tracks.copy(container, until=frame.pts * unit)
                container.mux(stream.encode(frame))
            if stream is None:
                raise FileError(f"{path}: there are no frames to encode")
            container.mux(stream.encode(None))
            if tracks:
                tracks.copy(container)
    except (av.FFmpegError, OSError, OverflowError) as error:
        raise FileError(f"{path}: cannot be written ({reason(error)})") from error
    finally:
        if tracks:
            tracks.close()
    return count


class _SoundTrack:
    """First sound track of a file, copied packet by packet."""

    def __init__(self, path: str | Path) -> None:
        self._path, self._waiting, self._target = path, None, None
        self._source = _container(path)

    def add_to(self, container: av.container.OutputContainer) -> None:
        """Add a track to the container if it can hold the sound."""
        if not self._source.streams.audio:
            return
        track = self._source.streams.audio[0]
        if track.codec_context.name not in container.supported_codecs:
            logger.warning(
                "%s: its sound (%s) cannot be stored in this kind of video and is left out",
                self._path,
                track.codec_context.name,
            )
            return
        self._target = container.add_stream_from_template(track)
        self._waiting = self._packets(track)
        self._next = next(self._waiting, None)

    def copy(self, container: av.container.OutputContainer, until: Fraction | None = None) -> None:
        """Write the packets up to a time in seconds, or the rest."""
        while self._target is not None and self._next is not None:
            if until is not None and self._next.pts * self._next.time_base > until:
                return
            self._next.stream = self._target
            container.mux(self._next)
            self._next = next(self._waiting, None)

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def _packets(self, track: av.AudioStream) -> Iterator[av.Packet]:
        try:
            yield from (packet for packet in self._source.demux(track) if packet.pts is not None)
        except av.FFmpegError as error:
            logger.warning("%s: its sound is damaged and ends early (%s)", self._path, reason(error))


def has_sound(path: str | Path) -> bool:
    """True for a video file with a sound track."""
    with _container(path) as container:
        return bool(container.streams.audio)


def _even(pixels: np.ndarray) -> np.ndarray:
    """Repeat the last row and column where their number is odd."""
    height, width = pixels.shape[:2]
    padding = ((0, height % 2), (0, width % 2), *((0, 0),) * (pixels.ndim - 2))
    return np.pad(pixels, padding, mode="edge") if height % 2 or width % 2 else pixels


def _add_stream(
    container: av.container.OutputContainer, kind: VideoKind, pixels: np.ndarray, rate: Fraction, time_base: Fraction
) -> av.VideoStream:
    stream = container.add_stream(kind.encoder, rate=rate, options=dict(kind.options))
    stream.height, stream.width = (_even(pixels) if kind.even_sides else pixels).shape[:2]
    channels = _channels(pixels)
    stream.pix_fmt = {1: kind.grey, 3: kind.colour, 4: kind.with_alpha}[channels]
    stream.codec_context.time_base = stream.time_base = time_base
    if channels == 4 and kind.encoder == "libvpx-vp9":
        stream.metadata["alpha_mode"] = "1"
    return stream


def _channels(pixels: np.ndarray) -> int:
    return pixels.shape[2] if pixels.ndim == 3 else 1
