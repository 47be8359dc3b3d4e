"""Rounding, encoding and atomic writing."""

import errno
import fcntl
import os
import stat

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data import files
from data.files import FileError, read_alpha, write_alpha, write_text


def test_non_ascii_and_very_long_names(tmp_path):
    path = tmp_path / ("写真 ü" + "x" * 240 + ".png")
    write_alpha(path, np.full((2, 3), 0.5, np.float32))
    assert read_alpha(path).tolist() == [[128] * 3] * 2


@settings(max_examples=40, deadline=None)
@given(
    alpha=arrays.arrays(
        np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(0, 1, width=32)
    ),
    bit_depth=st.sampled_from([8, 16]),
)
@example(alpha=np.array([[0.9]], np.float32), bit_depth=16)
def test_written_alpha_is_rounded(tmp_path_factory, alpha, bit_depth):
    path = tmp_path_factory.mktemp("round") / "a.png"
    write_alpha(path, alpha, bit_depth)
    stored = read_alpha(path)
    levels = 2**bit_depth - 1
    assert stored.dtype == (np.uint8 if bit_depth == 8 else np.uint16)
    assert np.abs(stored - alpha.astype(np.float64) * levels).max() <= 0.501


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_every_level_survives_a_round_trip(tmp_path, bit_depth):
    levels = np.arange(2**bit_depth).reshape(2**bit_depth // 16, 16)  # more rows than are quantised at a time
    write_alpha(tmp_path / "a.png", levels.astype(np.float32) / levels.max(), bit_depth)
    assert np.array_equal(read_alpha(tmp_path / "a.png"), levels)


def test_values_outside_are_clipped_and_nan_is_refused(tmp_path):
    write_alpha(tmp_path / "a.png", np.array([[-0.1, 1.1]], np.float32))
    assert read_alpha(tmp_path / "a.png").tolist() == [[0, 255]]
    with pytest.raises(ValueError, match=r"b\.png: the alpha holds values that are not finite; nothing was written"):
        write_alpha(tmp_path / "b.png", np.array([[np.nan, 0]], np.float32))
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize(
    ("name", "alpha", "bit_depth", "message"),
    [
        ("a.jpg", np.zeros((2, 2)), 8, "alphas are written as PNG"),
        ("a.png", np.zeros((2, 2)), 12, "bit depth is 12"),
        ("a.png", np.zeros((2, 2, 1)), 8, "two dimensions"),
        ("a.png", np.zeros((0, 2)), 8, "at least one pixel"),
    ],
)
def test_what_cannot_be_written(tmp_path, name, alpha, bit_depth, message):
    with pytest.raises(ValueError, match=message):
        write_alpha(tmp_path / name, alpha, bit_depth)
    assert not os.listdir(tmp_path)


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_alpha(path, np.ones((2, 2), np.float32))

    def full_disk(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(FileError, match=r"a\.png: cannot be written \(No space left on device\)"):
        write_alpha(path, np.zeros((2, 2), np.float32))
    assert os.listdir(tmp_path) == ["a.png"]
    assert read_alpha(path).min() == 255


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "link to a device", "link to a folder"])
def test_only_files_are_replaced(tmp_path, kind):
    """As root, /dev/null would become a file."""
    path = tmp_path / "out.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, 0o644 | stat.S_IFSOCK)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/null" if kind == "link to a device" else tmp_path)
    mode = path.lstat().st_mode
    with pytest.raises(FileError, match=r"out\.json: cannot be written \(it is a folder, a pipe or a device\)"):
        write_text(path, "text")
    assert path.lstat().st_mode == mode and [item.name for item in tmp_path.iterdir()] == ["out.json"]


def test_data_reaches_the_disk_before_the_rename(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    write_alpha(tmp_path / "a.png", np.ones((2, 2), np.float32))
    assert calls == ["fsync", "replace", "fsync"]


def test_write_below_a_file_or_into_nowhere(tmp_path):
    (tmp_path / "file").touch()
    for parent in ("file", "nowhere"):
        with pytest.raises(FileError, match=r"a\.png: cannot be written"):
            write_alpha(tmp_path / parent / "a.png", np.ones((2, 2), np.float32))


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    dead, foreign = tmp_path / f".{'0' * 32}.tmp", tmp_path / ".other.tmp"
    dead.write_bytes(b"half")
    foreign.touch()
    with files.replacing(tmp_path / "a") as file:
        file.write(b"whole")
        files.remove_leftovers(tmp_path)
        assert not dead.exists() and foreign.exists() and os.path.exists(file.name)
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert sorted(os.listdir(tmp_path)) == [".other.tmp", "a"]


def test_a_writer_whose_file_was_taken_for_a_leftover_takes_another(tmp_path, monkeypatch):
    lock, names = fcntl.flock, []

    def cleaned_before_the_lock(file, mode):
        names.append(file.name)
        if len(names) == 1:
            os.unlink(file.name)
        lock(file, mode)

    monkeypatch.setattr(fcntl, "flock", cleaned_before_the_lock)
    files.write_atomic(tmp_path / "a", b"whole")
    assert len(set(names)) == 2 and (tmp_path / "a").read_bytes() == b"whole" and os.listdir(tmp_path) == ["a"]
