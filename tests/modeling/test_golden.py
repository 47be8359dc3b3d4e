"""The networks are the same functions as the published ones."""

import json

import pytest

from modeling import MEMatte
from tests.conftest import GOLDEN
from tests.reference.golden import check_file
from tests.reference.golden.vit_family import CONFIG_OF, build, config_model

FILES = sorted(path.name for path in GOLDEN.glob("*matte_[sb]_*.npz") if path.name.startswith(("mematte", "vitmatte")))


def published_keys(name: str) -> list[list]:
    return json.loads((GOLDEN / f"{name}.keys.json").read_text())


def keys_of(model) -> list[list]:
    return [
        [name, list(value.shape), str(value.dtype).removeprefix("torch.")] for name, value in model.state_dict().items()
    ]


@pytest.mark.parametrize("name", FILES)
def test_golden_file_reproduces(name: str) -> None:
    quantities = check_file(GOLDEN / name)
    assert [quantity for quantity in quantities if not quantity.ok] == []
    assert {"alpha_whole", "alpha_whole_right64_u16"} & {quantity.name for quantity in quantities}


@pytest.mark.parametrize("kind", CONFIG_OF)
def test_state_dict_is_the_published_one(kind: str) -> None:
    assert keys_of(build(kind)) == published_keys(kind)


def test_state_dict_with_teacher_is_the_published_one() -> None:
    model: MEMatte = config_model("mematte_s")
    model.attach_teacher(config_model("vitmatte_s").backbone)
    assert sorted(keys_of(model)) == sorted(published_keys("mematte_s_with_teacher"))
    assert not any(parameter.requires_grad for parameter in model.teacher_backbone.parameters())
    assert len([parameter for parameter in model.parameters() if parameter.requires_grad]) == 294
