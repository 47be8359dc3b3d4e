import os
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from data.files import FileError
from data.products.clips import open_clip, pair_frames, write_video

TIME_BASE, RATE = Fraction(1, 30000), Fraction(30000, 1001)


def rgba(number: int) -> np.ndarray:
    """Smooth colours and alpha that tell the frames apart."""
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)[None].repeat(48, axis=0)
    return np.dstack([ramp, ramp[:, ::-1], np.full_like(ramp, 20 * number), np.roll(ramp, 5 * number, axis=1)])


def decode(path, decoder: str | None = None) -> tuple[list[int], list[np.ndarray]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = av.CodecContext.create(decoder, "r") if decoder else stream.codec_context
        frames = [frame for packet in container.demux(stream) for frame in context.decode(packet)]
        assert len(frames) > 1
        times = [round(Fraction(frame.pts) * stream.time_base / TIME_BASE) for frame in frames]
        return times, [frame.to_ndarray(format="rgba") for frame in frames]


@pytest.mark.parametrize(
    "suffix, decoder, tolerance, step",
    [
        (".mov", None, 4, 1),
        (".mkv", None, 0, 30),
        (".webm", "libvpx-vp9", 12, 30),
    ],
)
def test_alpha_and_times_survive(tmp_path, suffix, decoder, tolerance, step):
    """mkv and webm count milliseconds, 30 units of this time base."""
    times = [1001 * number for number in (0, 1, 2, 4, 5)]  # a frame is missing
    frames = [(time, rgba(number)) for number, time in enumerate(times)]
    assert write_video(tmp_path / f"a{suffix}", frames, RATE, TIME_BASE) == 5
    back_times, back = decode(tmp_path / f"a{suffix}", decoder)
    assert np.abs(np.subtract(back_times, times)).max() < step
    for (_, expected), found in zip(frames, back, strict=True):
        assert np.abs(expected[..., 3].astype(int) - found[..., 3]).mean() <= tolerance
        assert tolerance or np.array_equal(expected, found)
    clip = open_clip(tmp_path / f"a{suffix}")
    assert [frame.number for frame in clip] == [0, 1, 2, 3, 4]
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_sequences_keep_numbers_and_gaps(tmp_path):
    for number in (7, 8, 10, 100):
        cv2.imwrite(str(tmp_path / f"shot_{number:04d}.png"), np.full((4, 5, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("no frame")
    clip = open_clip(tmp_path)
    assert [(frame.number, frame.name, int(frame.pixels()[0, 0, 0])) for frame in clip] == [
        (7, "shot_0007", 7),
        (8, "shot_0008", 8),
        (10, "shot_0010", 10),
        (100, "shot_0100", 100),
    ]


def test_what_is_no_clip_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("empty", "text.mp4", "missing.mp4"):
        with pytest.raises(FileError, match=name.split(".")[0]):
            open_clip(tmp_path / name)
    for name in ("a_1.png", "b_01.png"):
        cv2.imwrite(str(tmp_path / "empty" / name), np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(FileError, match="same number"):
        open_clip(tmp_path / "empty")


def test_pairs_by_number_or_one_after_another(tmp_path):
    for folder, numbers in (("a", (1, 2, 3)), ("b", (0, 1, 2, 3)), ("c", (1, 2))):
        (tmp_path / folder).mkdir()
        for number in numbers:
            cv2.imwrite(str(tmp_path / folder / f"{number}.png"), np.zeros((2, 2, 3), np.uint8))
    first, more, fewer = (open_clip(tmp_path / folder) for folder in "abc")
    assert [(one.number, two.number) for one, two in pair_frames(first, more)] == [(1, 1), (2, 2), (3, 3)]
    with pytest.raises(FileError, match="frame 3 has no"):
        list(pair_frames(first, fewer))
    write_video(tmp_path / "v.mkv", [(None, rgba(0)), (None, rgba(1))], RATE, None)
    with pytest.raises(FileError, match="end after 2 frames"):
        list(pair_frames(first, open_clip(tmp_path / "v.mkv")))


def test_a_video_reaches_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(f"fsync {os.fstat(fd).st_size > 100}"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    write_video(tmp_path / "a.mkv", [(None, np.zeros((16, 16), np.uint8))], Fraction(25), None)
    assert calls[:2] == ["fsync True", "replace"]
    assert os.listdir(tmp_path) == ["a.mkv"]


def test_a_killed_encoder_s_file_is_no_video_and_is_cleared(tmp_path):
    def frames():
        yield None, np.zeros((16, 16), np.uint8)
        seen.extend(os.listdir(tmp_path))
        raise KeyboardInterrupt

    seen = []
    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mkv", frames(), Fraction(25), None)
    assert [name.endswith(".tmp") and name.startswith(".") for name in seen] == [True]
    assert not os.listdir(tmp_path)
