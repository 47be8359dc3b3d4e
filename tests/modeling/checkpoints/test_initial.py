"""Accepted and rejected initial weights of a training."""

import logging

import pytest
import torch
from safetensors.torch import save_file

from modeling.aematter import AEMatter
from modeling.backbone.prior_swin import PriorSwin
from modeling.backbone.resnet import ResNet34D
from modeling.backbone.vit import ViT
from modeling.checkpoints.initial import initialise, load_teacher
from modeling.checkpoints.weights import CheckpointError
from modeling.decoder.detail_capture import DetailCapture
from modeling.decoder.diffusion_decoder import DiffusionDecoder
from modeling.diffmatte import DiffMatte
from modeling.mediffmatte import MEDiffMatte
from modeling.mematte import MEMatte
from modeling.vitmatte import ViTMatte
from tools.reference.weights import fill_

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
    with pytest.raises(CheckpointError, match=r"without teacher: name the checkpoint of a ViTMatte"):
        load_teacher(ViT(**SMALL), tmp_path / "mematte.pth")
    initialise(mematte(), tmp_path / "mematte.pth")


def diffmatte(backbone, dim, network=DiffMatte):
    return network(backbone, DiffusionDecoder([7, 8, 8, 8], [dim, 8, 8, 8, 8]))


def test_a_diffmatte_starts_student_and_teacher(tmp_path):
    state = fill_(diffmatte(ViT(**SMALL), 16).state_dict())
    torch.save({"model": state}, tmp_path / "diffmatte.pth")
    student, teacher = diffmatte(ViT(**SMALL, routed=True), 16, MEDiffMatte), ViT(**SMALL)
    before = snapshot(student)
    initialise(student, tmp_path / "diffmatte.pth")
    load_teacher(teacher, tmp_path / "diffmatte.pth")
    new = {name for name in before if name not in state}
    assert new == {name for name in before if ".routers." in name or ".efficient_block." in name}
    assert not differing(student, before) & new
    assert all(torch.equal(value, state[name]) for name, value in student.state_dict().items() if name in state)
    assert all(torch.equal(value, state[f"model.backbone.{name}"]) for name, value in teacher.state_dict().items())


def test_a_plain_vit_starts_a_diffmatte_of_its_size(tmp_path):
    plain = {name: value for name, value in fill_(ViT(**SMALL).state_dict()).items() if "rel_pos" not in name}
    plain = {name: value for name, value in plain.items() if "residual" not in name}
    plain["patch_embed.proj.weight"] = plain["patch_embed.proj.weight"][:, :3].clone()
    torch.save({**plain, "norm.weight": torch.zeros(16)}, tmp_path / "dino.pth")
    model = diffmatte(ViT(**SMALL), 16)
    initialise(model, tmp_path / "dino.pth")
    assert torch.equal(model.backbone.blocks[3].mlp.fc1.weight, plain["blocks.3.mlp.fc1.weight"])
    assert not model.backbone.patch_embed.proj.weight[:, 3].any()
    with pytest.raises(CheckpointError, match="misshapen"):
        initialise(diffmatte(ViT(**{**SMALL, "embed_dim": 32}), 32), tmp_path / "dino.pth")


def test_gca_mattings_resnet_starts_a_diffmatte(tmp_path):
    plain = fill_(ResNet34D(in_channels=3, depths=(1, 1, 1, 1)).state_dict())
    torch.save({"state_dict": {f"module.{name}": value for name, value in plain.items()}}, tmp_path / "gca.pth")
    model = diffmatte(ResNet34D(depths=(1, 1, 1, 1)), 512)
    initialise(model, tmp_path / "gca.pth")
    stem = model.backbone.conv1.module
    assert torch.equal(stem.weight_bar[:, :3], plain["conv1.module.weight_bar"]) and not stem.weight_bar[:, 3:].any()
    assert torch.equal(stem.weight_v[:27], plain["conv1.module.weight_v"]) and not stem.weight_v[27:].any()
    assert torch.equal(model.backbone.layer3[0].bn1.weight, plain["layer3.0.bn1.weight"])


def imagenet_swin(dim, heads):
    """State of a classifier: tables without prior tokens, masks, head."""
    state = {}
    for name, value in fill_(PriorSwin(in_channels=3, embed_dim=dim, num_heads=heads).state_dict()).items():
        if name.endswith("relative_position_bias_table"):
            value = value[:169].clone()
        state[name] = value[:, :49].clone() if name.endswith("relative_position_index") else value
    extra = {"layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49), "norm.weight": torch.zeros(8 * dim)}
    return {**state, **extra, "head.bias": torch.zeros(1000)}


def test_imagenets_swin_starts_a_diffmatte(tmp_path):
    plain = imagenet_swin(8, (1, 2, 4, 8))
    torch.save({"model": plain}, tmp_path / "swin.pth")
    model = diffmatte(PriorSwin(embed_dim=8, num_heads=(1, 2, 4, 8)), 64)
    indices = [block.attn.relative_position_index.clone() for stage in model.backbone.layers for block in stage.blocks]
    initialise(model, tmp_path / "swin.pth")
    table = model.backbone.layers[0].blocks[1].attn.relative_position_bias_table
    name = "layers.0.blocks.1.attn.relative_position_bias_table"
    assert table.shape == (175, 1) and torch.equal(table[:169], plain[name]) and table[169:].any()
    kernel = model.backbone.patch_embed.proj.weight
    assert torch.equal(kernel[:, :3], plain["patch_embed.proj.weight"]) and kernel[:, 3:].abs().min() > 0
    found = [block.attn.relative_position_index for stage in model.backbone.layers for block in stage.blocks]
    assert all(torch.equal(a, b) for a, b in zip(found, indices, strict=True))


def test_imagenets_swin_starts_an_aematter_but_for_its_stem(tmp_path):
    plain = imagenet_swin(96, (3, 6, 12, 24))
    torch.save({"model": plain}, tmp_path / "swin.pth")
    model = AEMatter()
    before = snapshot(model)
    initialise(model, tmp_path / "swin.pth")
    changed = differing(model, before)
    assert all(name.startswith("trans.") for name in changed)
    assert "trans.patch_embed.norm.weight" in changed and "trans.patch_embed.proj.weight" not in changed
    assert torch.equal(model.trans.layers[2].blocks[5].mlp.fc2.weight, plain["layers.2.blocks.5.mlp.fc2.weight"])
    assert len(changed) > 150
