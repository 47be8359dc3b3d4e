import errno
import logging
import os
import threading
import time

import cv2
import numpy as np
import pytest

from data.files import FileError, read_alpha
from data.folders import Pair, find_pairs
from engine.batch import folders as folder_run
from engine.batch.folders import Job, checked, plan, prepare_output, run
from engine.batch.outputs import Outputs
from modeling.inference.predictor import Matte

NAMES = ["a", "b", "c", "sub/d"]


class Halves:
    """Network stand-in: 0.5 where unknown, one of four tokens kept."""

    def __init__(self):
        self.calls = 0

    def run(self, image, trimap, name):
        self.calls += 1
        assert image.dtype == trimap.dtype == np.uint8 and image.shape == (*trimap.shape, 3)
        return Matte((trimap / np.float32(255)).astype(np.float32), [np.array([[False, True], [False, False]])])


@pytest.fixture
def root(tmp_path):
    for index, name in enumerate(NAMES):
        add_pair(tmp_path / "in", name, (5 + index, 7))
    return tmp_path / "in"


def add_pair(root, name, size, trimap_size=None, fill=None):
    for folder in ("image", "trimap"):
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
    trimap = np.full(trimap_size or size, 128, np.uint8)
    trimap.flat[0], trimap.flat[-1] = 0, 255
    if fill is not None:
        trimap[:] = fill
    cv2.imwrite(str(root / "image" / f"{name}.png"), np.full((*size, 3), 77, np.uint8))
    cv2.imwrite(str(root / "trimap" / f"{name}.png"), trimap)


def outcome(root, out, predictor=None, **options):
    return run(predictor or Halves(), plan(find_pairs(root), out), **options)


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_all_are_done_and_sub_folders_mirrored(root, tmp_path, bit_depth):
    steps = []
    report = outcome(root, tmp_path / "out", outputs=Outputs(bit_depth=bit_depth), advance=lambda: steps.append(1))
    assert (report.done, report.skipped, report.failures, len(steps)) == (4, 0, [], 4)
    assert report.pixels == 7 * (5 + 6 + 7 + 8)
    assert report.summary().endswith("25.0% of tokens in full attention")
    for name in NAMES:
        alpha = read_alpha(tmp_path / "out" / f"{name}.png")
        assert alpha.itemsize * 8 == bit_depth
        assert alpha.flat[0] == 0 and alpha.flat[-1] == 2**bit_depth - 1
        assert alpha.flat[1] == (128 if bit_depth == 8 else 32896)
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_finished_files_are_skipped_only_if_complete(root, tmp_path):
    out = tmp_path / "out"
    outcome(root, out)
    whole = (out / "a.png").read_bytes()
    (out / "a.png").write_bytes(whole[:-20])  # cut off
    cv2.imwrite(str(out / "b.png"), np.zeros((3, 3), np.uint8))  # another size
    predictor = Halves()
    report = outcome(root, out, predictor)
    assert (report.done, report.skipped, predictor.calls) == (2, 2, 2)
    assert (out / "a.png").read_bytes() == whole
    assert outcome(root, out, outputs=Outputs(bit_depth=16)).done == 4  # another depth is another file
    assert outcome(root, out, outputs=Outputs(bit_depth=16)).skipped == 4
    assert outcome(root, out, outputs=Outputs(bit_depth=16), overwrite=True).done == 4


def test_bad_pairs_cost_one_line_each_and_the_others_get_done(root, tmp_path, caplog):
    (root / "image" / "b.png").write_bytes((root / "image" / "b.png").read_bytes()[:-30])
    (root / "trimap" / "c.png").unlink()
    add_pair(root, "e", (4, 9), trimap_size=(9, 4))
    (root / "image" / "f.jpg").write_bytes(b"nothing of the kind")
    (root / "trimap" / "f.png").touch()
    report = outcome(root, tmp_path / "out")
    assert (report.done, report.skipped) == (2, 0)
    reasons = dict(report.failures)
    assert list(reasons) == ["b", "c", "e", "f"]
    assert "image/b.png: damaged or incomplete image" in reasons["b"]
    assert "no trimap; expected" in reasons["c"]
    assert reasons["e"].endswith("trimap is 4 x 9 but image is 9 x 4 (width x height); resize the trimap first")
    assert "image/f.jpg: is not a JPEG" in reasons["f"]
    assert [record.getMessage() for record in caplog.records] == [f"{name}: {reasons[name]}" for name in reasons]


@pytest.mark.parametrize(
    ("fill", "message"), [(255, "has no unknown pixels, so the alpha is"), (128, "marks every pixel as unknown")]
)
def test_trimaps_without_and_with_nothing_but_unknown_pixels_are_done_with_a_warning(tmp_path, caplog, fill, message):
    add_pair(tmp_path / "in", "a", (4, 5), fill=fill)
    report = outcome(tmp_path / "in", tmp_path / "out")
    assert (report.done, report.failures) == (1, [])
    assert [message in record.getMessage() and "a.png" in record.getMessage() for record in caplog.records] == [True]
    assert np.unique(read_alpha(tmp_path / "out" / "a.png")).tolist() == [fill]


def test_errors_of_the_network_are_one_line(root, tmp_path, caplog):
    class Fails(Halves):
        def run(self, image, trimap, name):
            if image.shape[0] == 6:
                raise RuntimeError("CUDA out of memory.\nTried to allocate a lot.\nTraceback")
            return super().run(image, trimap, name)

    report = outcome(root, tmp_path / "out", Fails())
    assert report.done == 3
    assert report.failures == [("b", "RuntimeError: CUDA out of memory.")]
    assert "\n" not in caplog.text.strip()


def test_nan_is_not_written(root, tmp_path):
    class Overflows(Halves):
        def run(self, image, trimap, name):
            return Matte(np.full(trimap.shape, np.nan, np.float32), [])

    report = outcome(root, tmp_path / "out", Overflows())
    assert len(report.failures) == 4 and "not finite" in report.failures[0][1]
    assert not list((tmp_path / "out").rglob("*.*"))


def test_full_disk_costs_the_files_that_did_not_fit(root, tmp_path, monkeypatch):
    write = os.fsync
    count = iter(range(100))

    def fsync(descriptor):
        if next(count) == 2:  # data and folder of the first file, then the data of the second
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    report = outcome(root, tmp_path / "out")
    assert report.done == 3
    ((name, reason),) = report.failures
    assert name == "b" and reason.endswith("b.png: cannot be written (No space left on device)")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["a.png", "c.png", "d.png"]


def test_decoding_and_writing_overlap_with_the_network(root, tmp_path, monkeypatch):
    log, lock = [], threading.Lock()

    def spy(module, name):
        plain = getattr(module, name)

        def spied(*args):
            with lock:
                log.append((name, "starts"))
            time.sleep(0.02)
            return plain(*args)

        monkeypatch.setattr(module, name, spied)

    spy(folder_run, "_load")
    spy(folder_run, "_write")

    class Slow(Halves):
        def run(self, image, trimap, name):
            with lock:
                log.append(("predict", "starts"))
            time.sleep(0.1)
            with lock:
                log.append(("predict", "ends"))
            return super().run(image, trimap, name)

    outcome(root, tmp_path / "out", Slow())
    first, second = [index for index, event in enumerate(log) if event == ("predict", "ends")][:2]
    assert ("_load", "starts") in log[:first][1:]  # the second image is read before the first is computed
    assert log[:first].count(("_load", "starts")) == 2  # and no third
    assert ("_write", "starts") in log[first:second]


def test_outputs_never_meet_inputs_or_each_other(root, tmp_path):
    with pytest.raises(FileError, match="would overwrite an input"):
        plan(find_pairs(root), root / "image")
    (tmp_path / "link").symlink_to(root / "trimap")
    with pytest.raises(FileError, match="would overwrite an input"):
        plan(find_pairs(root), tmp_path / "link")
    pairs = [Pair("a", root / "image" / name, root / "trimap" / name) for name in ("a.png", "b.png")]
    with pytest.raises(FileError, match="would overwrite another output"):
        checked([Job(pair, tmp_path / "x.png") for pair in pairs])


def test_output_folder_that_cannot_be_written_is_found_before_the_run(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"file/out: cannot be written to \(Not a directory\)"):
        prepare_output(tmp_path / "file" / "out")

    def read_only(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(folder_run.tempfile, "TemporaryFile", read_only)
    with pytest.raises(FileError, match=r"out: cannot be written to \(Read-only file system\)"):
        prepare_output(tmp_path / "out")


def test_summary_is_one_line():
    report = folder_run.Report(done=3, skipped=2, pixels=4_000_000, seconds=2.0, failures=[("a", "x")])
    assert report.summary() == "3 done, 1 failed, 2 skipped in 2.0 s, 2.00 megapixels per second"


def test_nothing_is_logged_when_all_is_well(root, tmp_path, caplog):
    with caplog.at_level(logging.DEBUG, logger="engine"):
        outcome(root, tmp_path / "out")
    assert not caplog.records
