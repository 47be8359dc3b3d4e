import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from data.files import FileError
from data.products.backgrounds import Background
from data.products.clips import open_clip, write_video
from engine.batch.clips import open_job, run_clip
from engine.batch.outputs import Outputs

RATE, TIME_BASE = Fraction(24), Fraction(1, 24000)
ROOT = Path(__file__).resolve().parents[3]


class TrimapAsAlpha:
    """Stands for a network: alpha is the trimap, softened. Stops before frame `stop`."""

    def __init__(self, stop: int | None = None) -> None:
        self.calls, self.stop = 0, stop

    def predict(self, image: np.ndarray, trimap: np.ndarray, name: str) -> np.ndarray:
        if self.calls == self.stop:
            raise KeyboardInterrupt
        self.calls += 1
        return cv2.blur(trimap, (5, 5)).astype(np.float32) / 255


@pytest.fixture
def clip(tmp_path):
    """Ten frames of a moving disc, and their masks, as videos."""
    masks = [cv2.circle(np.zeros((48, 64), np.uint8), (20 + 2 * number, 24), 12, 255, -1) for number in range(10)]
    images = [np.dstack([mask // 2 + 60, mask // 3 + 20, np.full_like(mask, 90)]) for mask in masks]
    for name, frames in (("clip.mov", images), ("mask.mkv", masks)):
        write_video(tmp_path / name, [(1000 * number, frame) for number, frame in enumerate(frames)], RATE, TIME_BASE)
    return tmp_path


def job(folder, output, kind="rgba", **more):
    return open_job(folder / "clip.mov", folder / "mask.mkv", True, folder / output, Outputs([kind], **more), RATE)


def test_a_video_gives_a_sequence(clip):
    assert run_clip(TrimapAsAlpha(), job(clip, "out")) == (10, 10)
    assert [path.name for path in sorted((clip / "out").iterdir())] == [f"{number:06d}.png" for number in range(10)]
    frame = cv2.imread(str(clip / "out/000004.png"), cv2.IMREAD_UNCHANGED)
    assert frame.shape == (48, 64, 4) and frame[24, 28, 3] == 255 and frame[0, 0, 3] == 0


def test_interrupted_and_resumed_gives_the_same_as_at_once(clip):
    with pytest.raises(KeyboardInterrupt):
        run_clip(TrimapAsAlpha(stop=4), job(clip, "out.mov"))
    assert not (clip / "out.mov").exists()
    assert len(list((clip / "out.mov.frames").iterdir())) == 4
    assert run_clip(TrimapAsAlpha(), job(clip, "out.mov")) == (6, 10)
    run_clip(TrimapAsAlpha(), job(clip, "whole.mov"))
    resumed, whole = (list(open_clip(clip / name)) for name in ("out.mov", "whole.mov"))
    assert [frame.number for frame in resumed] == list(range(10))
    assert [frame.time for frame in resumed] == [1000 * number for number in range(10)]  # the clip's time base
    assert all(np.array_equal(a.pixels(), b.pixels()) for a, b in zip(resumed, whole, strict=True))
    assert not list(clip.glob("*.frames"))


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
    assert sorted(path.name for path in (clip / "out").iterdir()) == [
        "shot.1001.png", "shot.1002.png", "shot.1005.png"
    ]  # fmt: skip


def test_bad_jobs_are_refused_before_anything_is_written(clip):
    before = sorted(clip.iterdir())
    for output, kind, reason in (("clip.mov", "rgba", "overwrite"), ("out.avi", "rgba", "videos are"),
                                 ("out", "preview", "one of")):  # fmt: skip
        with pytest.raises(ValueError, match=reason):
            job(clip, output, kind)
    with pytest.raises(FileError, match="no such"):
        open_job(clip / "nothing.mp4", clip / "mask.mkv", True, clip / "out", Outputs(["rgba"]), RATE)
    assert sorted(clip.iterdir()) == before


def test_memory_does_not_grow_with_the_clip(tmp_path):
    frame = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    write_video(tmp_path / "clip.mov", ((number, frame) for number in range(60)), RATE, 1 / RATE)
    write_video(tmp_path / "mask.mkv", ((number, frame[..., 0]) for number in range(60)), RATE, 1 / RATE)
    sizes = []

    def note() -> None:
        sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    run_clip(TrimapAsAlpha(), job(tmp_path, "out", "alpha"), note)
    assert len(sizes) == 60
    assert sizes[-1] < 1.05 * sizes[10]


def test_the_tool_refuses_bad_input_in_one_line(tmp_path):
    (tmp_path / "clip.mp4").write_text("no video")
    command = [sys.executable, str(ROOT / "tools/matte_clip.py"), str(tmp_path / "clip.mp4"), str(tmp_path / "out"),
               "--masks", str(tmp_path), "--config", "none.py", "--checkpoint", "none.pth"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "cannot be read as a video" in done.stderr
    assert not (tmp_path / "out").exists()
