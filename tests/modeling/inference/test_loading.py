"""Models by name, file, folder and repository; misfits are named."""

import shutil
from pathlib import Path

import pytest
import torch

import modeling
from modeling import CheckpointError, load
from modeling.checkpoints import hub
from modeling.checkpoints.weights import read_state_dict

SHIPPED = Path(__file__).resolve().parents[3] / "weights" / "MEMatte_T.safetensors"


def same(predictor: modeling.Predictor) -> bool:
    found = predictor.model.backbone.pos_embed
    return torch.equal(found, read_state_dict(SHIPPED)["backbone.pos_embed"].float())


def test_a_name_a_file_and_a_folder_give_the_same_model(tmp_path: Path) -> None:
    shutil.copy(SHIPPED, tmp_path / hub.WEIGHTS)
    torch.save({"model": read_state_dict(SHIPPED)}, tmp_path / "any.pth")
    for arguments in (
        ("MEMatte-T",),
        ("MEMatte_T", SHIPPED),
        (SHIPPED,),
        (str(tmp_path / "any.pth"),),
        (tmp_path,),
        ("MEMatte_T", tmp_path),
    ):
        assert same(load(*arguments, device="cpu"))


def repository(cache: Path, name: str) -> None:
    """The cache of huggingface_hub as a download leaves it."""
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "snapshots" / "0123").mkdir(parents=True)
    shutil.copy(SHIPPED, folder / "snapshots" / "0123" / hub.WEIGHTS)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123")


def test_a_repository_is_taken_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository(tmp_path, "someone/matting")
    assert same(load("someone/matting", device="cpu"))
    assert same(load("MEMatte_T", "hf:someone/matting", device="cpu"))
    with pytest.raises(CheckpointError, match=r"hf:someone/else: model.safetensors is not in the cache and cannot be"):
        load("someone/else")
    with pytest.raises(CheckpointError, match="hf:a/b/c: is no repository"):
        load("hf:a/b/c")


def test_a_misfit_names_the_model_of_the_weights() -> None:
    with pytest.raises(CheckpointError) as error:
        load("ViTMatte_T", SHIPPED)
    assert str(error.value) == (
        f"{SHIPPED} does not fit ViTMatte as configured: these are the weights of MEMatte-T: use configs/MEMatte_T.py"
    )


def test_what_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pth")
    for arguments, message in (
        (("MEMatte_T", tmp_path / "nothing.pth"), "nothing.pth: no such checkpoint file"),
        ((tmp_path / "a.pth",), r"a\.pth: its tensors fit none of MEMatte_T, .*; build the network and load it by"),
        ((tmp_path,), "is a folder without model.safetensors; name a checkpoint file in it"),
        (("MEMatte_S",), r"only the weights of MEMatte_T are included; name a file: load\('MEMatte_S', FILE\)"),
        (("MEMate_T",), "unknown model 'MEMate_T'; did you mean 'MEMatte_T'"),
    ):
        with pytest.raises(ValueError, match=message):
            load(*arguments, device="cpu")
