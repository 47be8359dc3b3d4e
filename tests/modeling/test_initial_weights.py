"""What a training may start from, and what is refused."""

import logging

import pytest
import torch
from safetensors.torch import save_file

from modeling.backbone.vit import ViT
from modeling.checkpoint import CheckpointError
from modeling.decoder.detail_capture import DetailCapture
from modeling.initial_weights import initialise, load_teacher
from modeling.mematte import MEMatte
from modeling.vitmatte import ViTMatte
from tests.reference.weights import fill_

SMALL = {"embed_dim": 16, "num_heads": 2, "depth": 4, "window_size": 4, "global_blocks": [1, 3], "table_side": 4}
DECODER = {"feature_chans": 16, "stream_chans": (4, 4, 4), "fusion_chans": (4, 4, 4, 4), "head_chans": 4}


def vitmatte():
    return ViTMatte(ViT(**SMALL), DetailCapture(**DECODER))


def mematte():
    return MEMatte(ViT(**SMALL, routed=True), DetailCapture(**DECODER))


@pytest.fixture
def published():
    """State dict of a trained ViTMatte."""
    return fill_(vitmatte().state_dict())


def differing(model, before):
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_vitmatte_starts_student_and_teacher(tmp_path, published, caplog, suffix):
    path = tmp_path / f"vitmatte{suffix}"
    save_file(published, path) if suffix == ".safetensors" else torch.save({"model": published}, path)
    student, teacher = mematte(), ViT(**SMALL)
    before = snapshot(student)
    with caplog.at_level(logging.INFO):
        initialise(student, path)
    load_teacher(teacher, path)

    state = student.state_dict()
    new = {name for name in state if name not in published}
    assert new == {name for name in state if ".routers." in name or ".efficient_block." in name}
    assert not differing(student, before) & new
    assert all(torch.equal(state[name], published[name]) for name in state if name in published)
    assert all(torch.equal(value, published[f"backbone.{name}"]) for name, value in teacher.state_dict().items())
    assert "34 tensors stay as initialised: backbone.blocks.*.efficient_block.fc1, " in caplog.text
    assert "have no use here: backbone.blocks.*.attn.rel_pos_h, backbone.blocks.*.attn.rel_pos_w" in caplog.text


def test_a_file_with_a_teacher_serves_both(tmp_path, published):
    copies = {f"teacher_{name}": value + 1 for name, value in published.items() if name.startswith("backbone")}
    torch.save({**published, **copies}, tmp_path / "with_teacher.pth")
    student, teacher = mematte(), ViT(**SMALL)
    initialise(student, tmp_path / "with_teacher.pth")
    load_teacher(teacher, tmp_path / "with_teacher.pth")
    assert torch.equal(student.backbone.pos_embed, published["backbone.pos_embed"])
    assert torch.equal(teacher.pos_embed, published["backbone.pos_embed"] + 1)


def test_a_plain_vit_starts_a_vitmatte(tmp_path, published):
    blocks = {name.removeprefix("backbone."): value for name, value in published.items() if "decoder" not in name}
    plain = {name: value for name, value in blocks.items() if "rel_pos" not in name and "residual" not in name}
    plain["patch_embed.proj.weight"] = plain["patch_embed.proj.weight"][:, :3].clone()
    extra = ("cls_token", "norm.weight", "norm.bias", "head.weight", "mask_token", "decoder_blocks.0.norm1.weight")
    torch.save({"model": {**plain, **{name: torch.zeros(2) for name in extra}}}, tmp_path / "mae.pth")
    model = vitmatte()
    before = snapshot(model)
    initialise(model, tmp_path / "mae.pth")
    state = model.state_dict()
    assert torch.equal(state["backbone.blocks.3.mlp.fc1.weight"], plain["blocks.3.mlp.fc1.weight"])
    kernel = state["backbone.patch_embed.proj.weight"]
    assert torch.equal(kernel[:, :3], plain["patch_embed.proj.weight"]) and not kernel[:, 3].any()
    assert not any(name.startswith("decoder.") or "residual" in name for name in differing(model, before))


def test_what_does_not_fit_is_refused_by_name(tmp_path, published):
    torch.save(published, tmp_path / "vitmatte.pth")
    with pytest.raises(CheckpointError, match="misshapen"):
        initialise(ViTMatte(ViT(**{**SMALL, "embed_dim": 32}), DetailCapture(**DECODER)), tmp_path / "vitmatte.pth")
    del published["decoder.fusion_blks.0.conv.conv.weight"]
    torch.save(published, tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match=r"1 missing: decoder\.fusion_blks\.0\.conv\.conv\.weight"):
        initialise(mematte(), tmp_path / "cut.pth")
    torch.save(mematte().state_dict(), tmp_path / "mematte.pth")
    with pytest.raises(CheckpointError, match=r"without teacher: name a ViTMatte checkpoint"):
        load_teacher(ViT(**SMALL), tmp_path / "mematte.pth")
    initialise(mematte(), tmp_path / "mematte.pth")
