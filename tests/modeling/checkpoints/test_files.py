"""Files from strangers: no code runs, no oversized memory is taken."""

import collections
import io
import json
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from modeling.base import MattingNetwork
from modeling.checkpoints import files as weight_files
from modeling.checkpoints.files import read_metadata
from modeling.checkpoints.weights import CheckpointError, load_weights, read_state_dict


class Linear(MattingNetwork, nn.Linear):
    """The smallest network with weights."""


class Allocates:
    """Takes a terabyte where it is unpickled."""

    def __reduce__(self) -> tuple:
        return bytearray, (10**12,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_allocates_is_refused(tmp_path: Path, zipped: bool) -> None:
    torch.save({"a": torch.ones(1), "b": Allocates()}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"asks to run code while loading \(bytearray\).*SECURITY\.md"):
        read_state_dict(tmp_path / "a.pth")


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(10**6)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(CheckpointError, match="its parts are compressed, as PyTorch never does"):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(1).expand(10**9),
        torch.eye(3).to_sparse(),
        torch.empty(3, device="meta"),
        torch.zeros(3, dtype=torch.complex64),
        torch.zeros(3, dtype=torch.float8_e4m3fn),
    ],
    ids=["repeated", "sparse", "without data", "complex", "8 bits"],
)
def test_tensors_that_are_no_plain_numbers_are_refused(tmp_path: Path, value: torch.Tensor) -> None:
    torch.save({"fine": torch.ones(1), "odd": value}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"1 tensors hold no plain numbers: odd; save as float32"):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.full((2, 3), float("nan")), r"1 not finite \(damaged\?\): weight"),
        (torch.tensor([[1.0, 2, float("inf")]] * 2), r"1 not finite"),
        (torch.ones(2, 3, dtype=torch.int64), r"1 of a wrong type: weight torch.int64"),
    ],
)
def test_values_and_types_must_fit(tmp_path: Path, weight: torch.Tensor, message: str) -> None:
    for suffix, save in ((".pth", torch.save), (".safetensors", save_file)):
        save({"weight": weight, "bias": torch.ones(2)}, tmp_path / f"a{suffix}")
        with pytest.raises(CheckpointError, match=message):
            load_weights(Linear(3, 2), tmp_path / f"a{suffix}")


def _private_bytes() -> int:
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the memory of the process")
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_shapes_are_judged_before_memory_is_taken(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    (torch.save if suffix == ".pth" else save_file)({"weight": torch.ones(5000, 5000), "bias": torch.ones(2)}, path)
    before = _private_bytes()
    with pytest.raises(CheckpointError, match=r"misshapen: weight \(5000, 5000\) instead of \(2, 3\)"):
        load_weights(Linear(3, 2), path)
    assert _private_bytes() - before < 2e7  # the file has 100 MB


def test_names_from_a_file_cannot_forge_or_flood_a_line(tmp_path: Path) -> None:
    torch.save({"a\nERROR: all is lost\x1b[2J": torch.ones(1), "x" * 10**6: torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError) as error:
        load_weights(Linear(3, 2), tmp_path / "a.pth")
    assert str(error.value).isprintable() and len(str(error.value)) < 1000


def test_damaged_names_of_code_are_shown_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"\x80\x02ccollect\x1b\xc2\x85ions\nOrdered\x07Dict\n)R.")
    with pytest.raises(CheckpointError) as error:
        read_state_dict(tmp_path / "a.pth")
    assert str(error.value).isprintable()


def test_files_that_are_too_large_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(b"\x80\x02")
    with open(path, "ab") as file:
        file.truncate(weight_files.MAX_LEGACY_BYTES + 1)  # a hole, which takes no room
    with pytest.raises(CheckpointError, match="is large and in PyTorch's old format"):
        read_state_dict(path)
    with open(path, "ab") as file:
        file.truncate(weight_files.MAX_BYTES + 1)
    with pytest.raises(CheckpointError, match="has 16 GB; files of up to 16 GB are read"):
        read_state_dict(path)


def test_files_of_the_kernel_are_not_opened(tmp_path: Path) -> None:
    """Reading one may wait for ever."""
    (tmp_path / "link.pth").symlink_to("/proc/self/maps")
    for path in ("/proc/kmsg", tmp_path / "link.pth"):
        with pytest.raises(CheckpointError, match="no such checkpoint file"):
            weight_files.check_file(path)
        with pytest.raises(CheckpointError, match="no such checkpoint file"):
            read_state_dict(path)


def test_a_name_that_no_file_system_takes(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_state_dict(tmp_path / ("x" * 5000))


@pytest.mark.parametrize("header", [{"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, [1], "x"])
def test_safetensors_headers_that_lie_are_refused(tmp_path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    for read in (read_state_dict, read_metadata):
        with pytest.raises(CheckpointError, match="not a readable safetensors file"):
            read(tmp_path / "a.safetensors")


def test_metadata_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", {"config": "x"})
    save_file({"a": torch.ones(1)}, tmp_path / "b.safetensors")
    assert read_metadata(tmp_path / "a.safetensors") == {"config": "x"}
    assert read_metadata(tmp_path / "b.safetensors") == {}


def archive(path: Path, pickled: bytes) -> Path:
    """PyTorch's zip format around a pickle."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    return path


TRILLION = b")" + b"q\x00h\x00h\x00\x86" * 40 + b"q\x00"  # a tuple of two tuples of two tuples ...
HOSTILE = {
    "a key": (b"\x80\x02" + TRILLION + b"}h\x00h\x00s\x86.", "a container as a key"),
    "a set": (b"\x80\x02" + TRILLION + b"c__builtin__\nset\n]h\x00a\x85R\x86.", "a set of containers"),
    "repeated": (b"\x80\x02]" + b"q\x00]h\x00ah\x00a" * 40 + b".", "containers that hold each other many times"),
    "millions of lists": (b"\x80\x02(" + b"]" * (9 * 2**20) + b"l.", "more than 150000 containers"),
    "millions of numbers": (b"\x80\x02(" + b"N" * 400_000 + b"l.", "more than 300000 steps"),
    "itself": (b"\x80\x02]q\x00h\x00a.", "a container that holds itself"),
    "strings": (
        b"\x80\x02X"
        + struct.pack("<I", 10**6)
        + b"x" * 10**6
        + b"q\x00"
        + b"("
        + b"c_codecs\nencode\nh\x00U\x05ascii\x86R" * 100
        + b"t.",
        "long strings, many times",
    ),
    "a storage": (
        b"\x80\x02(U\x07storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu\x8a\x06"
        + (2**40).to_bytes(6, "little")
        + b"tQ.",
        "a tensor that is larger than the file",
    ),
    "an object": (b"\x80\x02ctorch\nTensor\n)\x81.", "torch.Tensor"),
    "arguments": (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "an OrderedDict with arguments"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_that_ask_for_too_much_are_refused_at_once(tmp_path: Path, case: str, zipped: bool) -> None:
    pickled, reason = HOSTILE[case]
    path = tmp_path / "a.pth"
    archive(path, pickled) if zipped else path.write_bytes(pickled)
    with pytest.raises(CheckpointError, match=reason):
        read_state_dict(path)


def test_what_checkpoints_hold_beside_tensors_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_files, "MAX_PICKLE_BYTES", 2 * 10**6)
    torch.save({"a": torch.ones(1), "note": "x" * 10**6}, tmp_path / "a.pth")
    assert list(read_state_dict(tmp_path / "a.pth")) == ["a"]
    torch.save({"a": torch.ones(1), "note": "x" * 3 * 10**6}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="holds more than 2 MB beside its tensors"):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_plain_data_are_read_as_they_are(tmp_path: Path, zipped: bool) -> None:
    weight = torch.nn.Parameter(torch.arange(6.0).view(2, 3).T)
    content = {
        "model": collections.OrderedDict(a=weight, b=torch.ones(2, dtype=torch.bfloat16), c=torch.tensor(3)),
        "random": [3, [1, 2**40, -1], None],
        "numbers": {0: (1.5, True, {"x": b"bytes"}), 7: {1, 2}},
        "size": torch.Size([2, 3]),
        "counter": collections.Counter("aab"),
        "shared": [weight, weight],
    }
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = weight_files.read_pickle(tmp_path / "a.pth")
    assert {key: found[key] for key in ("random", "numbers", "size", "counter")} == {
        key: content[key] for key in ("random", "numbers", "size", "counter")
    }
    assert all(torch.equal(found["model"][name], value) for name, value in content["model"].items())


@pytest.mark.parametrize("metadata", [True, False])
def test_long_headers_are_refused_unread(tmp_path: Path, metadata: bool) -> None:
    if metadata:
        header = {"__metadata__": {"x": "y" * 5_000_000}}
    else:
        header = {f"{i:060}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(50_000)}
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    for read in (read_state_dict, read_metadata):
        with pytest.raises(CheckpointError, match=r"names and metadata of [567] MB; up to 4 MB are read"):
            read(tmp_path / "a.safetensors")


def test_numbers_that_the_network_cannot_hold_are_refused(tmp_path: Path) -> None:
    state = {"weight": torch.full((2, 3), 1e300, dtype=torch.float64), "bias": torch.ones(2, dtype=torch.float64)}
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"1 not finite \(damaged\?\): weight"):
        load_weights(Linear(3, 2), tmp_path / "a.pth")


def test_the_suffix_may_be_written_in_capitals(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2, 3), "bias": torch.ones(2)}, tmp_path / "a.SAFETENSORS")
    load_weights(Linear(3, 2), tmp_path / "a.SAFETENSORS")
