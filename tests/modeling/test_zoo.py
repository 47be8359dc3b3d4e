"""Table of sizes: complete, used by configs, able to name weights."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from engine.build import load_config
from modeling import zoo

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {path.stem: path for path in (ROOT / "configs").glob("*.py")}
GOLDEN = ROOT / "tests" / "golden"
KEY_LISTS = {
    "aematter": "AEMatter",
    "cheapmatting": "CheapMatting",
    "mematte_b": "MEMatte_B",
    "mematte_s": "MEMatte_S",
    "mematte_s_with_teacher": "MEMatte_S",
    "vitmatte_b": "ViTMatte_B",
    "vitmatte_s": "ViTMatte_S",
}
DIFFMATTE = {
    "res34": "DiffMatte_Res34",
    "swin_t": "DiffMatte_SwinT",
    "vitb": "DiffMatte_ViTB",
    "vits": "DiffMatte_ViTS",
    "vits_1024": "DiffMatte_ViTS_1024",
}


def test_every_config_is_listed_once() -> None:
    assert sorted(config for model in zoo.MODELS.values() for config in model.configs) == sorted(CONFIGS)


@pytest.mark.parametrize("name", zoo.MODELS)
def test_a_row_is_found_by_its_tensors(name: str) -> None:
    with torch.device("meta"):
        state = zoo.build(name).state_dict()
    assert zoo.fingerprint(state) == zoo.MODELS[name].tensors
    assert zoo.identify(state | {"teacher_backbone.pos_embed": torch.ones(1)}) == name


def settings(part: zoo.Part) -> dict[str, Any]:
    own = {"_target_": part.make}
    for key, value in part.settings.items():
        own[key] = settings(value) if isinstance(value, zoo.Part) else list(value) if type(value) is tuple else value
    return own


@pytest.mark.parametrize("name", [name for name in zoo.MODELS if not name.startswith("DiffMatte")])
def test_configs_have_the_sizes_of_their_row(name: str) -> None:
    for config in zoo.MODELS[name].configs:
        found = OmegaConf.to_container(load_config(CONFIGS[config]).model)
        chosen_in_training = {"distill": found.get("distill"), "self_align_stage2_step": None}
        expected = settings(zoo.MODELS[name].network)
        assert found | chosen_in_training == expected | chosen_in_training


def test_names_of_models_and_configs_are_understood() -> None:
    assert zoo.find("MEMatte-S") == zoo.find("MEMatte_S_UHR395") == "MEMatte_S"
    assert zoo.find("DiffMatte_ViTS_1024") == "DiffMatte_ViTS_1024"
    with pytest.raises(
        ValueError, match=r"unknown model 'MEMate_S'; did you mean 'MEMatte_S'\? The models are MEMatte_T"
    ):
        zoo.find("MEMate_S")
    assert zoo.build("DiffMatte_Res34", sample_strategy="ddim3").strategy.steps == 3


def key_lists() -> dict[str, list]:
    """Names and shapes of the tensors in published files."""
    lists = {file: json.loads((GOLDEN / f"{file}.keys.json").read_text()) for file in KEY_LISTS}
    return lists | json.loads(gzip.decompress((GOLDEN / "diffmatte.keys.json.gz").read_bytes()))


@pytest.mark.parametrize(("file", "name"), {**KEY_LISTS, **DIFFMATTE}.items())
def test_published_weights_are_named(file: str, name: str) -> None:
    state = {key: torch.empty(shape, device="meta") for key, shape, _ in key_lists()[file]}
    assert zoo.identify(state) == name
    state.pop(next(iter(state)))
    assert zoo.identify(state) in (None, name if "teacher" in file else None)
