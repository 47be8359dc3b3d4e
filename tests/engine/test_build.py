import builtins
from pathlib import Path

import pytest

from engine.build import ConfigError, build_model, load_config

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
)  # fmt: skip
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
    (tmp_path / "x.yaml").write_text("a: 1")
    with pytest.raises(ConfigError, match=r"x\.yaml: a config is a Python file"):
        load_config(tmp_path / "x.yaml")
