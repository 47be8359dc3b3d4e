"""Files that may be opened, and outputs that must not replace them."""

import os

import pytest

from data import files
from data.files import FileError, read_image


def test_folders_pipes_and_nothing_in_place_of_a_file(tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("nowhere.png")
    for name in ("folder", "pipe"):
        with pytest.raises(FileError, match=rf"{name}\.png: is a folder, a pipe or a device, not a file"):
            read_image(tmp_path / f"{name}.png")
    for name in ("link", "missing"):
        with pytest.raises(FileError, match=rf"{name}\.png: cannot be read \(No such file"):
            read_image(tmp_path / f"{name}.png")


def test_files_too_large_to_read_are_refused_unread(tmp_path):
    with open(tmp_path / "a.png", "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(10**12)  # a hole, which takes no room
    with pytest.raises(FileError, match=r"a\.png: has 1000\.0 GB; files of up to 4 GB are read"):
        read_image(tmp_path / "a.png")


def test_outputs_never_overwrite_inputs_or_one_another(tmp_path):
    (tmp_path / "in.png").touch()
    (tmp_path / "link").symlink_to("in.png")
    (tmp_path / "folder").symlink_to(tmp_path)
    loop = tmp_path / "loop.png"
    loop.symlink_to("loop.png")
    files.check_outputs([tmp_path / "out.png", tmp_path / "other.png"], [tmp_path / "in.png", loop])
    for output in ("in.png", "link", "folder/in.png", "x/../in.png"):
        with pytest.raises(FileError, match="would overwrite an input; choose another place"):
            files.check_outputs([tmp_path / output], [tmp_path / "in.png"])
    with pytest.raises(FileError, match=r"loop\.png: the output would overwrite an input"):
        files.check_outputs([loop], [loop])
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "devices").symlink_to("/dev")
    # A rename would put a file in the place of a link such as /dev/stdout, wherever that leads.
    for device in ("/dev/null", "/dev/new", "/proc/new", tmp_path / "devices" / "new", tmp_path / "pipe"):
        with pytest.raises(FileError, match="is a pipe or a device; name a file"):
            files.check_outputs([device])
    with pytest.raises(FileError, match="would overwrite another output"):
        files.check_outputs([tmp_path / "a", tmp_path / "folder" / "a"])
