"""Exported checkpoints: small, described, and what inference loads."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from safetensors import safe_open
from safetensors.torch import load_file

from engine.build import load_config, shipped_config
from engine.training import session as run
from engine.training.manifest import commit
from modeling import CheckpointError, Predictor, load
from modeling.zoo import build
from tests.engine.synthetic import composite
from tests.engine.training.test_trainer import TINY, tiny
from tools.export_checkpoint import config_today, main
from tools.reference.golden.vit_family import build as build_golden

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of a run with a teacher."""
    folder = tmp_path_factory.mktemp("run")
    teacher = instantiate(load_config(TINY).teacher).state_dict()
    torch.save({f"backbone.{name}": value for name, value in teacher.items()}, folder / "vitmatte.pth")
    config = tiny(folder, "train.max_iter=2", "model.distill=True", f"train.teacher_checkpoint={folder}/vitmatte.pth")
    assert run.train(config, "tiny", resume=False)
    return folder / "model_final.pth"


@pytest.mark.parametrize(("dtype", "bound"), [("fp32", 0.0), ("fp16", 5e-3)])
def test_the_exported_network_predicts_the_same(tmp_path, checkpoint, dtype, bound):
    exported = tmp_path / "tiny.safetensors"
    assert main([str(checkpoint), str(exported), "--dtype", dtype]) == 0
    assert exported.stat().st_size < checkpoint.stat().st_size / 3

    image, trimap, _ = (part.numpy() for part in composite(0, 64))
    image = np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)
    wanted, found = (
        Predictor(instantiate(load_config(TINY).model), path, device="cpu").predict(image, trimap[0])
        for path in (checkpoint, exported)
    )
    assert np.abs(wanted - found).max() <= bound
    model = instantiate(load_config(TINY).model)
    assert Predictor(model, exported, device="cpu").model.backbone.pos_embed.dtype == torch.float32


def test_it_describes_itself(tmp_path, checkpoint):
    assert main([str(checkpoint), str(tmp_path / "tiny.safetensors"), "--dtype", "fp16"]) == 0
    with safe_open(tmp_path / "tiny.safetensors", "pt") as file:
        known = file.metadata()
        names = set(file.keys())
    assert known["config"] == "tiny" and known["step"] == "2" and known["dtype"] == "fp16"
    assert json.loads(known["data"])["_target_"] == "tests.engine.synthetic.build_loader"
    assert known["commit"] == (commit() or "null")
    assert not any(name.startswith("teacher_backbone.") for name in names)


def test_large_variances_survive_fp16(tmp_path, checkpoint):
    whole = torch.load(checkpoint, weights_only=True)
    name = next(name for name in whole["model"] if name.endswith("running_var"))
    whole["model"][name] += 1e6
    torch.save(whole, tmp_path / "large.pth")
    assert main([str(tmp_path / "large.pth"), str(tmp_path / "a.safetensors"), "--dtype", "fp16"]) == 0
    assert torch.equal(load_file(tmp_path / "a.safetensors")[name], whole["model"][name])


def test_what_cannot_be_exported_is_refused(tmp_path, checkpoint, caplog):
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    assert main([str(tmp_path / "broken.pth"), str(tmp_path / "a.safetensors")]) == 2
    assert main([str(checkpoint), str(tmp_path / "a.pth")]) == 2
    assert [name in caplog.text for name in ("broken.pth", "a.pth")] == [True, True]
    whole = torch.load(checkpoint, weights_only=True)
    whole["model"]["decoder.matting_head.matting_convs.0.weight"].fill_(1e6)
    torch.save(whole, tmp_path / "large.pth")
    assert main([str(tmp_path / "large.pth"), str(tmp_path / "a.safetensors"), "--dtype", "fp16"]) == 2
    assert "too large for fp16" in caplog.text
    assert not list(tmp_path.glob("a.*"))


def test_a_config_that_has_been_renamed_since_is_replaced_by_that_of_the_network():
    tensors = build("CheapMatting").state_dict()
    assert config_today("CheapMatting_first", tensors) == "CheapMatting"
    assert config_today("AEMatter", tensors) == "AEMatter"
    assert config_today("own", {"weight": torch.zeros(1)}) == "own"


def test_a_folder_is_loaded_by_its_name(tmp_path, capsys):
    shipped = ROOT / "weights" / "MEMatte_T.safetensors"
    assert main([str(shipped), str(tmp_path / "hub"), "--folder", "--dtype", "fp16"]) == 0
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert json.loads((tmp_path / "hub" / "config.json").read_text())["model"] == "MEMatte_T"
    card = (tmp_path / "hub" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: mematte\n") and "| config, step | MEMatte_T, 600 |" in card
    assert re.search(r"^\| validation scores \| sad [\d.]+, mse [\d.]+, .* \|$", card, re.MULTILINE)
    image, trimap, _ = (part.numpy() for part in composite(0, 64))
    image = np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)
    wanted, found = (load(place, device="cpu").predict(image, trimap[0]) for place in ("MEMatte_T", tmp_path / "hub"))
    assert np.array_equal(wanted, found)
    assert shipped_config(tmp_path / "hub").stem == "MEMatte_T"


def test_transformers_reads_its_layout_and_gives_the_same_alphas(tmp_path):
    from transformers import VitMatteForImageMatting, VitMatteImageProcessor

    model = build_golden("vitmatte_s")
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    arguments = [str(tmp_path / "model.pth"), str(tmp_path / "hub"), "--folder", "--layout", "transformers"]
    assert main(arguments) == 0
    theirs, told = VitMatteForImageMatting.from_pretrained(tmp_path / "hub", output_loading_info=True)
    assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    image, trimap = torch.rand(1, 3, 96, 160), torch.full((1, 1, 96, 160), 128 / 255)
    inputs = model.padded_input(image, trimap)
    with torch.no_grad():
        alpha = model(image, trimap).alpha
        torch.testing.assert_close(theirs.eval()(pixel_values=inputs).alphas, alpha, rtol=0, atol=1e-4)
    processor = VitMatteImageProcessor.from_pretrained(tmp_path / "hub")
    picture, known = ((255 * part[0]).round().to(torch.uint8).permute(1, 2, 0).numpy() for part in (image, trimap))
    processed = processor(images=picture, trimaps=known[..., 0], return_tensors="pt").pixel_values
    torch.testing.assert_close(processed, inputs, rtol=0, atol=0.01)
    with pytest.raises(CheckpointError, match="these are the weights of ViTMatte-S"):
        load("ViTMatte_B", tmp_path / "hub")


def test_folders_that_cannot_be_written_are_told(tmp_path, checkpoint, caplog):
    shipped = str(ROOT / "weights" / "ViTMatte_T.safetensors")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    for arguments, message in (
        ([str(checkpoint), str(tmp_path / "x"), "--folder"], "in no row of the table of models; export it to a file"),
        ([shipped, str(tmp_path / "full"), "--folder"], "is there already; name a new folder"),
        (
            [shipped, str(tmp_path / "x"), "--folder", "--layout", "transformers"],
            "transformers has only ViTMatte_S and",
        ),
        ([str(checkpoint), str(tmp_path / "x.safetensors"), "--layout", "transformers"], "add --folder"),
    ):
        assert main(arguments) == 2
        assert message in caplog.text
    assert not (tmp_path / "x").exists()
