"""Golden files reproduce, and ViT networks have the published entries."""

import pytest
import torch

from modeling import MEMatte
from tools.reference.golden import check_file
from tools.reference.golden.files import GOLDEN, key_list, load_golden, published_keys, recorded_scores
from tools.reference.golden.vit_family import CONFIG_OF, config_model

FILES = sorted(path.name for path in GOLDEN.glob("*.npz"))
INPUTS = {  # all other arrays must be compared
    "image",
    "trimap",
    "max_number_token",
    "variant",
    "strategy",
    "noise",
    "step_noise",
    "uniform",
    "columns",
    "temb_t",
    "alpha_gt",
    "gumbel_noise",
    "grad_names",
    "x",
    "policy",
    "soft_policy",
    "attn_logits",
    "pred",
    "target",
    "unknown",
    "a_pred",
    "a_target",
    "a_sample_map",
    "b_pred",
    "b_target",
    "b_sample_map",
}


@pytest.mark.parametrize("name", FILES)
def test_golden_file_reproduces(name: str) -> None:
    quantities = check_file(GOLDEN / name)
    assert [quantity for quantity in quantities if not quantity.ok] == []
    compared = tuple(quantity.name.split(" ")[0] for quantity in quantities)
    inputs = INPUTS | {"alpha"} if name.startswith("diffmatte_train") else INPUTS
    assert set(load_golden(name.removesuffix(".npz"))) - inputs <= set(compared)
    assert compared


def test_all_recorded_scores_have_their_file() -> None:
    recorded = {case["file"] for case in recorded_scores().values()}
    assert len(recorded) == 13 and recorded == {name for name in FILES if name.startswith("metrics_")}


@pytest.mark.parametrize("kind", CONFIG_OF)
def test_state_dict_is_the_published_one(kind: str) -> None:
    with torch.device("meta"):
        assert key_list(config_model(kind)) == published_keys(kind)


def test_state_dict_with_teacher_is_the_published_one() -> None:
    with torch.device("meta"):
        model: MEMatte = config_model("mematte_s")
        model.attach_teacher(config_model("vitmatte_s").backbone)
    assert sorted(key_list(model)) == sorted(published_keys("mematte_s_with_teacher"))
    assert not any(parameter.requires_grad for parameter in model.teacher_backbone.parameters())
    assert len([parameter for parameter in model.parameters() if parameter.requires_grad]) == 294
