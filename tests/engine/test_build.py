import builtins
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.build import ConfigError, build_model, load_config, shipped_config
from modeling import zoo
from modeling.checkpoints.weights import CheckpointError
from modeling.zoo import identify

CONFIG = Path(__file__).parents[2] / "configs" / "MEMatte_S_topk0.25_win_global_long.py"


def test_overrides_of_what_the_config_holds_and_of_what_its_class_accepts():
    config = load_config(CONFIG, ["model.backbone.embed_dim=48", "model.backbone.mlp_ratio=2.0"])
    assert config.model.backbone.embed_dim == 48
    assert config.model.backbone.mlp_ratio == 2.0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.backbone.embed_dm=48", "embed_dm'; did you mean 'model.backbone.embed_dim'"),
        ("nope=1", "unknown override 'nope'"),
        ("model.backbone.embed_dim.x=1", "unknown override 'model.backbone.embed_dim.x'"),
        ("+model.x=1", r"unknown override '\+model.x'"),
        ("model.backbone.depth", "is not of the form key=value, for example model.backbone.depth=12"),
        ("=1", "is not of the form key=value"),
        ("model.backbone.depth=[1", r"override 'model.backbone.depth=\[1' cannot be applied"),
        ("model.backbone.depth=1,2", "cannot be applied"),
    ],
)
def test_bad_overrides_are_one_line(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(CONFIG, [override])
    assert "\n" not in str(caught.value)


def test_settings_that_make_no_model():
    with pytest.raises(ConfigError, match=r"do not make a model .ValueError: embed_dim 50 is not"):
        build_model(CONFIG, ["model.backbone.embed_dim=50"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("model = (", "cannot be loaded .SyntaxError"),
        ("import not_there", "cannot be loaded .ModuleNotFoundError: No module named 'not_there'"),
        ("from .nowhere import x", "cannot be loaded .ImportError"),
        ("size = 3", "defines no 'model'"),
    ],
)
def test_broken_config_files(tmp_path, content, message):
    plain_import = builtins.__import__
    (tmp_path / "c.py").write_text(content)
    with pytest.raises(ConfigError, match=r"c\.py: .*" + message):
        build_model(tmp_path / "c.py")
    assert builtins.__import__ is plain_import


def test_missing_config_and_other_kinds_of_file(tmp_path):
    with pytest.raises(ConfigError, match=r"x\.py: no such config file; the published ones are in configs/"):
        load_config(tmp_path / "x.py")
    (tmp_path / "x.toml").write_text("a: 1")
    with pytest.raises(ConfigError, match=r"x\.toml: a config is a Python file"):
        load_config(tmp_path / "x.toml")


@pytest.mark.parametrize(
    "override",
    [
        "model._target_=os.mkdir",
        "model.backbone={_target_: os.mkdir, path: attacked}",
        "model.backbone.global_blocks=[{_target_: os.getcwd}]",
        "model.backbone.depth={_target_: '${oc.env:HOME}'}",
    ],
)
def test_an_override_cannot_name_code(tmp_path, monkeypatch, override):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="names code to run, which only a config file may"):
        build_model(CONFIG, [override])
    assert not Path("attacked").exists()


@pytest.mark.parametrize("setting", ["embed_dim=60000", "depth=1000000000", "window_size=100000000"])
def test_a_network_that_no_machine_holds_is_refused_before_it_is_built(setting):
    with pytest.raises(ConfigError, match="more than 300 million numbers or 20000 tensors: make it smaller"):
        build_model(CONFIG, [f"model.backbone.{setting}"])


@pytest.mark.parametrize("value", ["4", "text", "null", "[]"])
def test_a_model_that_is_no_network_is_refused(value):
    with pytest.raises(ConfigError, match=r"which is no network|do not make a model|cannot be applied"):
        build_model(CONFIG, [f"model={value}"])


def test_a_config_whose_name_no_file_system_takes():
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config("x" * 5000 + ".py")


def test_a_checkpoint_names_a_shipped_config(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", {"config": CONFIG.stem})
    assert shipped_config(tmp_path / "a.safetensors") == CONFIG


@pytest.mark.parametrize(
    "name",
    ["evil", "../evil", "/tmp/evil.py", "configs/MEMatte_S_finetune", "common/vit", "os.mkdir", "", "a\nb", "x" * 999],
)
def test_what_is_no_name_of_a_shipped_config_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text("raise AssertionError('run')")
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", {"config": name})
    with pytest.raises(CheckpointError, match="which is not among those of this repository") as error:
        shipped_config("a.safetensors")
    assert str(error.value).isprintable()


def test_checkpoints_without_a_config_are_known_by_their_tensors(tmp_path):
    weights = CONFIG.parents[1] / "weights" / "ViTMatte_T.safetensors"
    state = load_file(weights)
    torch.save({"model": state}, tmp_path / "a.pth")
    save_file(state, tmp_path / "b.SAFETENSORS", {"config": "of somebody else"})
    save_file(state, tmp_path / "model.safetensors")
    for place in (tmp_path / "a.pth", tmp_path / "b.SAFETENSORS", tmp_path):
        assert shipped_config(place).stem == "ViTMatte_T"


def test_tensors_outweigh_a_name_that_means_another_network_now(tmp_path):
    state = zoo.build("ViTMatte_T1").state_dict()
    save_file(state, tmp_path / "first.safetensors", {"config": "ViTMatte_T"})
    assert shipped_config(tmp_path / "first.safetensors").stem == "ViTMatte_T1"
    assert identify(build_model(shipped_config(tmp_path / "first.safetensors")).state_dict()) == "ViTMatte_T1"


def test_checkpoints_of_unknown_networks_are_told_so(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    torch.save({"a": torch.ones(1), "config": CONFIG.stem}, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        with pytest.raises(CheckpointError, match="its tensors belong to none of the configs here; give one with"):
            shipped_config(tmp_path / name)
