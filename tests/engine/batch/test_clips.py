import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from data.bands import Band
from data.files import FileError, read_alpha
from data.products.backgrounds import Background
from data.products.clips import open_clip, write_video
from engine.batch.clips import open_job, run_clip
from engine.batch.outputs import Outputs
from modeling.inference.predictor import Matte
from tools import matte_clip

RATE, TIME_BASE = Fraction(24), Fraction(1, 24000)
BAND = Band.parse("2", None, None)  # one that follows the picture takes longer than the clip
ROOT = Path(__file__).resolve().parents[3]


class TrimapAsAlpha:
    """Network stand-in with the softened trimap as alpha.

    It stops before frame `stop`.
    """

    def __init__(self, stop: int | None = None) -> None:
        self.calls, self.stop = 0, stop

    def run(self, image: np.ndarray, trimap: np.ndarray, name: str) -> Matte:
        if self.calls == self.stop:
            raise KeyboardInterrupt
        self.calls += 1
        return Matte(cv2.blur(trimap, (5, 5)).astype(np.float32) / 255, [])


@pytest.fixture
def clip(tmp_path):
    """Ten frames of a moving disc, and their masks, as videos."""
    masks = [cv2.circle(np.zeros((48, 64), np.uint8), (20 + 2 * number, 24), 12, 255, -1) for number in range(10)]
    images = [np.dstack([mask // 2 + 60, mask // 3 + 20, np.full_like(mask, 90)]) for mask in masks]
    for name, frames in (("clip.mov", images), ("mask.mkv", masks)):
        write_video(tmp_path / name, [(1000 * number, frame) for number, frame in enumerate(frames)], RATE, TIME_BASE)
    return tmp_path


def job(folder, output, kind="rgba", **more):
    clip, masks, outputs = folder / "clip.mov", folder / "mask.mkv", Outputs([kind], **more)
    return open_job(clip, masks, True, folder / output, outputs, RATE, BAND)


def test_a_video_gives_a_sequence(clip):
    assert run_clip(TrimapAsAlpha(), job(clip, "out")) == (10, 10)
    assert [path.name for path in sorted((clip / "out").iterdir())] == [f"{number:06d}.png" for number in range(10)]
    frame = cv2.imread(str(clip / "out/000004.png"), cv2.IMREAD_UNCHANGED)
    assert frame.shape == (48, 64, 4) and frame[24, 28, 3] == 255 and frame[0, 0, 3] == 0


def test_interrupted_and_resumed_gives_the_same_as_at_once(clip):
    with pytest.raises(KeyboardInterrupt):
        run_clip(TrimapAsAlpha(stop=4), job(clip, "out.mov"))
    assert not (clip / "out.mov").exists()
    assert len(list((clip / "out.mov.frames").glob("*.png"))) == 4
    assert run_clip(TrimapAsAlpha(), job(clip, "out.mov")) == (6, 10)
    run_clip(TrimapAsAlpha(), job(clip, "whole.mov"))
    resumed, whole = (list(open_clip(clip / name)) for name in ("out.mov", "whole.mov"))
    assert [frame.number for frame in resumed] == list(range(10))
    assert [frame.time for frame in resumed] == [1000 * number for number in range(10)]  # the clip's time base
    assert all(np.array_equal(a.pixels(), b.pixels()) for a, b in zip(resumed, whole, strict=True))
    assert not list(clip.glob("*.frames"))


def test_steadied_frames_follow_those_before_and_are_made_anew(clip):
    run_clip(TrimapAsAlpha(), job(clip, "alone", "alpha"))
    steadied = replace(job(clip, "steady", "alpha"), steadiness=0.8)
    assert run_clip(TrimapAsAlpha(), steadied) == (10, 10)
    alone, steady = ([read_alpha(path) for path in sorted((clip / name).iterdir())] for name in ("alone", "steady"))
    assert np.array_equal(alone[0], steady[0])
    assert not np.array_equal(alone[5], steady[5])
    assert run_clip(TrimapAsAlpha(), steadied) == (10, 10)
    with pytest.raises(ValueError, match="out of range"):
        replace(steadied, steadiness=1.0)


@pytest.mark.parametrize("kind, pixel_format", [("alpha", "gray"), ("rgba", "bgra"), ("foreground", "bgr0")])
def test_each_kind_has_its_pixels(clip, kind, pixel_format):
    run_clip(TrimapAsAlpha(), job(clip, "out.mkv", kind))
    with av.open(str(clip / "out.mkv")) as container:
        assert container.streams.video[0].pix_fmt == pixel_format


def test_composites_are_over_the_background(clip):
    run_clip(TrimapAsAlpha(), job(clip, "out", "composite", background=Background((10, 200, 30))))
    assert (cv2.imread(str(clip / "out/000000.png"))[0, 0] == (30, 200, 10)).all()


def test_a_sequence_keeps_its_names(clip):
    for folder in ("frames", "trimaps"):
        (clip / folder).mkdir()
        for number in (1001, 1002, 1005):
            cv2.imwrite(str(clip / folder / f"shot.{number}.png"), np.full((16, 16, 3), 255, np.uint8))
    work = open_job(clip / "frames", clip / "trimaps", False, clip / "out", Outputs(["alpha"]), RATE)
    run_clip(TrimapAsAlpha(), work)
    assert sorted(path.name for path in (clip / "out").iterdir()) == ["shot.1001.png", "shot.1002.png", "shot.1005.png"]


def test_bad_jobs_are_refused_before_anything_is_written(clip):
    before = sorted(clip.iterdir())
    for output, kind, reason in (
        ("clip.mov", "rgba", "overwrite"),
        ("out.avi", "rgba", "videos are"),
        ("out", "matte", "name each of"),
        ("out.mp4", "rgba", "hold no alpha"),
    ):
        with pytest.raises(ValueError, match=reason):
            job(clip, output, kind)
    with pytest.raises(FileError, match="no such"):
        open_job(clip / "nothing.mp4", clip / "mask.mkv", True, clip / "out", Outputs(["rgba"]), RATE)
    assert sorted(clip.iterdir()) == before


def test_memory_does_not_grow_with_the_clip(tmp_path):
    rows, cols = np.indices((240, 320))
    frame = np.dstack([rows, cols * 0.75, rows]).astype(np.uint8)  # smooth: noise takes long to encode
    write_video(tmp_path / "clip.mov", ((number, frame) for number in range(60)), RATE, 1 / RATE)
    write_video(tmp_path / "mask.mkv", ((number, frame[..., 0]) for number in range(60)), RATE, 1 / RATE)
    sizes = []

    def note() -> None:
        sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    run_clip(TrimapAsAlpha(), job(tmp_path, "out", "alpha"), note)
    assert len(sizes) == 60
    assert sizes[-1] < 1.05 * sizes[10]


def test_a_folder_of_the_user_is_never_taken_for_the_working_folder(clip):
    """Named like ours, it was encoded as the result and removed."""
    (clip / "out.mov.frames").mkdir()
    cv2.imwrite(str(clip / "out.mov.frames/000000.png"), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(FileError, match="holds other files"):
        job(clip, "out.mov")
    assert [path.name for path in (clip / "out.mov.frames").iterdir()] == ["000000.png"]


@pytest.mark.parametrize("output", ["frames", "frames/out", "frames/out.mov", "frames.mov", "."])
def test_nothing_is_written_into_a_folder_that_is_read_or_around_it(clip, output):
    for folder in ("frames", "frames.mov.frames"):
        (clip / folder).mkdir()
        cv2.imwrite(str(clip / folder / "shot.1.png"), np.zeros((48, 64, 3), np.uint8))
    read = clip / ("frames.mov.frames" if output == "frames.mov" else "frames")
    with pytest.raises(FileError, match=r"which is read|holds other files|overwrite an input"):
        open_job(read, clip / "mask.mkv", True, clip / output, Outputs(["rgba"]), RATE)
    assert read.is_dir()


@pytest.mark.parametrize("clip_name", ["clip.mov", "frames"])
def test_frames_never_overwrite_a_background_or_a_summary(clip, clip_name):
    """A background in the output folder, named like a frame, was lost."""
    for folder in ("frames", "out"):
        (clip / folder).mkdir()
    for name in ("frames/000003.png", "out/000003.png", "out/wall.png"):
        cv2.imwrite(str(clip / name), np.zeros((48, 64, 3), np.uint8))

    def planned(wall, **further):
        outputs = Outputs(["composite"], background=Background.parse(str(clip / wall)))
        return open_job(clip / clip_name, clip / "mask.mkv", True, clip / "out", outputs, RATE, BAND, **further)

    with pytest.raises(FileError, match=r"out/000003\.png: would be overwritten by a frame; choose another output"):
        planned("out/000003.png")
    with pytest.raises(FileError, match=r"out/000003\.png: would be overwritten by a frame"):
        planned("out/wall.png", written=[clip / "out/000003.png"])
    (clip / "out/000003.png").unlink()  # refused as somebody's picture otherwise
    planned("out/wall.png", written=[clip / "out/summary.json"])


def test_frames_that_this_command_would_not_have_written_are_made_again(clip):
    run_clip(TrimapAsAlpha(), job(clip, "out", "alpha"))
    assert run_clip(TrimapAsAlpha(), job(clip, "out", "alpha")) == (0, 10)
    assert run_clip(TrimapAsAlpha(), job(clip, "out", "alpha", bit_depth=16)) == (10, 10)
    assert run_clip(TrimapAsAlpha(), job(clip, "out", "rgba")) == (10, 10)


def test_pictures_of_others_are_never_overwritten_by_frames(clip):
    (clip / "out").mkdir()
    cv2.imwrite(str(clip / "out/000004.png"), np.full((48, 64, 3), 9, np.uint8))
    with pytest.raises(FileError, match=r"out/000004\.png: is a picture that no earlier run wrote"):
        job(clip, "out")
    (clip / "out/000004.png").write_bytes(b"\x89PNG")  # damaged: what an interrupted copy may leave
    assert run_clip(TrimapAsAlpha(), job(clip, "out")) == (10, 10)
    cv2.imwrite(str(clip / "out/000004.png"), np.full((48, 64, 3), 9, np.uint8))  # the rest is this project's
    assert run_clip(TrimapAsAlpha(), job(clip, "out")) == (1, 10)


def test_damaged_frames_of_an_interrupted_run_are_made_again(clip):
    with pytest.raises(KeyboardInterrupt):
        run_clip(TrimapAsAlpha(stop=4), job(clip, "out.mov"))
    frames = clip / "out.mov.frames"
    (frames / "000000.png").write_bytes(b"\x89PNG")
    cv2.imwrite(str(frames / "000001.png"), np.zeros((48, 64), np.uint8))
    cv2.imwrite(str(frames / "000002.png"), np.zeros((10, 10, 4), np.uint8))
    assert run_clip(TrimapAsAlpha(), job(clip, "out.mov")) == (9, 10)


def test_files_of_others_in_the_working_folder_stay(clip, caplog):
    work = job(clip, "out.mov")

    def put_note() -> None:
        (clip / "out.mov.frames/note.txt").write_text("mine")

    run_clip(TrimapAsAlpha(), work, put_note)
    assert [path.name for path in (clip / "out.mov.frames").iterdir()] == ["note.txt"]
    assert "holds other files and is left there" in caplog.text


def test_a_second_run_of_the_same_video_is_refused(clip):
    """The first to end removed the frames of the other."""
    refused = []

    def again() -> None:
        with pytest.raises(FileError, match=r"out\.mov\.frames: another run makes this video; wait for it to end"):
            run_clip(TrimapAsAlpha(), job(clip, "out.mov"))
        refused.append(True)

    assert run_clip(TrimapAsAlpha(), job(clip, "out.mov"), again) == (10, 10)
    assert len(refused) == 10 and not (clip / "out.mov.frames").exists()
    assert run_clip(TrimapAsAlpha(), job(clip, "out.mov")) == (10, 10)  # the lock went with the run


def test_frames_of_another_size_are_never_scaled_into_a_video(clip):
    for folder, fill in (("frames", 90), ("trimaps", 255)):
        (clip / folder).mkdir()
        for number, side in ((1, 16), (2, 24)):
            cv2.imwrite(str(clip / folder / f"{number}.png"), np.full((16, side, 3), fill, np.uint8))
    work = open_job(clip / "frames", clip / "trimaps", False, clip / "out.mkv", Outputs(["rgba"]), RATE)
    with pytest.raises(FileError, match="frame 2 is 24 x 16, but the first one is 16 x 16"):
        run_clip(TrimapAsAlpha(), work)
    assert not (clip / "out.mkv").exists()


def test_numbers_far_apart_are_refused_for_a_video(clip):
    for folder in ("frames", "trimaps"):
        (clip / folder).mkdir()
        for number in ("1", "9" * 26):
            cv2.imwrite(str(clip / folder / f"{number}.png"), np.full((16, 16, 3), 255, np.uint8))
    with pytest.raises(FileError, match="too many for a video"):
        open_job(clip / "frames", clip / "trimaps", False, clip / "out.mov", Outputs(["rgba"]), RATE)


def test_sound_is_copied_where_it_can_be_stored_and_its_loss_is_said(clip, caplog):
    caplog.set_level("INFO")
    with av.open(str(clip / "clip.mov")) as source, av.open(str(clip / "loud.mov"), "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        audio = target.add_stream("aac", rate=8000, layout="mono")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 3000), np.float32), format="fltp", layout="mono")
        tone.sample_rate, tone.pts = 8000, 0
        target.mux(audio.encode(tone))
        target.mux(audio.encode(None))
    (clip / "loud.mov").rename(clip / "clip.mov")
    run_clip(TrimapAsAlpha(), job(clip, "out.mp4", "composite", background=Background((10, 200, 30))))
    with av.open(str(clip / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert sum(frame.samples for frame in container.decode(audio=0)) >= 3000
    assert len(list(open_clip(clip / "out.mp4"))) == 10
    assert not caplog.records
    run_clip(TrimapAsAlpha(), job(clip, "out.webm"))
    assert "its sound (aac) cannot be stored in this kind of video" in caplog.text
    run_clip(TrimapAsAlpha(), job(clip, "out"))
    assert "has sound, which frames in a folder cannot hold" in caplog.text


def test_previews_of_frames(clip):
    run_clip(TrimapAsAlpha(), job(clip, "out", "preview"))
    assert cv2.imread(str(clip / "out/000000.png")).shape[1] > 3 * 64


@pytest.mark.parametrize("name", ["12:30.mov", "http:clip.mov", "line\nbreak.mov", "%03d.mov", "\udcff.mov"])
def test_videos_of_any_name_are_files(clip, monkeypatch, name):
    """FFmpeg takes text before a colon for a protocol."""
    monkeypatch.chdir(clip)
    os.rename("clip.mov", name)
    work = open_job(Path(name), Path("mask.mkv"), True, Path("to:here", name), Outputs(["rgba"]), RATE, BAND)
    assert run_clip(TrimapAsAlpha(), work) == (10, 10)
    assert len(list(open_clip(Path("to:here", name)))) == 10


@pytest.mark.parametrize("content", ["ffconcat version 1.0\nfile clip.mov\n", "[00:01.00]a line of a song\n"])
def test_texts_that_name_other_files_are_no_videos(clip, content):
    (clip / "list.mov").write_text(content)
    with pytest.raises(FileError, match=r"list\.mov: cannot be read as a video"):
        open_clip(clip / "list.mov")


def test_files_of_the_kernel_are_no_videos(tmp_path):
    (tmp_path / "link.mov").symlink_to("/proc/self/maps")
    for path in ("/proc/self/maps", tmp_path / "link.mov"):
        with pytest.raises(FileError, match="is a folder, a pipe or a device, not a file"):
            open_clip(path)


@pytest.mark.parametrize("rate", ["1/0", "1e-30", "1e30", "-1", "fast", "nan"])
def test_rates_that_no_video_has_are_refused(rate, capsys):
    with pytest.raises(SystemExit) as error:
        matte_clip.parse(["clip", "out.mov", "--masks", "m", "--rate", rate])
    assert error.value.code == 2 and "rate" in capsys.readouterr().err


def test_the_tool_refuses_bad_input_in_one_line(tmp_path, caplog):
    (tmp_path / "clip.mp4").write_text("no video")
    arguments = [str(tmp_path / "clip.mp4"), str(tmp_path / "out"), "--masks", str(tmp_path)]
    assert matte_clip.main(arguments) == 2
    (error,) = caplog.messages
    assert "cannot be read as a video" in error
    assert not (tmp_path / "out").exists()
