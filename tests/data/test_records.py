import io
import os

import cv2
import numpy as np
import pytest
from PIL import Image

from data.files import write_alpha
from data.files.tags import png_with_record
from data.products.colours import write_colours
from data.records import fingerprint, fingerprint_file, read_record

RECORD = '{"kind": "rgba", "made": {"x": 1}}'


@pytest.mark.parametrize("suffix", [".png", ".tif", ".exr"])
def test_a_record_comes_back_and_leaves_the_pixels(tmp_path, suffix):
    colours = np.random.default_rng(0).random((5, 7, 3), np.float32)
    path, plain = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    depth = "half" if suffix == ".exr" else "8"
    write_colours(path, colours, colours[..., 0], depth=depth, record=RECORD)
    write_colours(plain, colours, colours[..., 0], depth=depth)
    assert (read_record(path), read_record(plain)) == (RECORD, "")
    if suffix != ".exr":
        pixels = [cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in (path, plain)]
        assert np.array_equal(*pixels)


def test_alphas_carry_records_that_other_programs_can_read(tmp_path):
    write_alpha(tmp_path / "a.png", np.zeros((3, 4)), record=RECORD)
    with Image.open(tmp_path / "a.png") as image:
        assert image.text == {"mematte": RECORD}


def test_without_a_record_the_bytes_stay():
    encoded = io.BytesIO()
    Image.new("L", (3, 3)).save(encoded, "PNG")
    assert png_with_record(encoded.getvalue(), "") == encoded.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xfftEXt", b"II*\0" * 9, b"v/1\1"]
)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".exr", ".jpg"])
def test_damaged_files_have_no_record(tmp_path, content, suffix):
    (tmp_path / f"a{suffix}").write_bytes(content)
    assert read_record(tmp_path / f"a{suffix}") == ""
    assert read_record(tmp_path / "missing.png") == "" and read_record(tmp_path) == ""


def test_files_without_end_are_not_searched(tmp_path):
    sparse = tmp_path / "a.png"
    sparse.write_bytes(b"\x89PNG\r\n\x1a\n")
    os.truncate(sparse, 2**32)
    assert read_record(sparse) == ""
    os.truncate(sparse, 2**20)  # small enough to be read: 90,000 empty chunks
    assert read_record(sparse) == ""
    os.mkfifo(tmp_path / "b.png")
    assert read_record(tmp_path / "b.png") == ""


def test_fingerprints_tell_contents_and_shapes_apart():
    array = np.arange(6, dtype=np.uint8)
    prints = [[array], [array.reshape(2, 3)], [array.reshape(3, 2)], [array.tobytes()], [b"", array.tobytes()], []]
    assert len({fingerprint(contents) for contents in prints}) == len(prints)


def test_a_file_has_the_fingerprint_of_its_content(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(256)) * 20_000)
    assert fingerprint_file(tmp_path / "a") == fingerprint([(tmp_path / "a").read_bytes()])
