"""Learning rates and weight decay per kind of parameter, published schedules."""

from pathlib import Path

import pytest
from detectron2.config import LazyConfig, instantiate

from engine.training.optim import layer_factor, parameter_groups
from engine.training.schedule import stepped_multiplier, warm_stable_decay
from modeling.backbone.vit import ViT
from modeling.decoder.detail_capture import DetailCapture
from modeling.mematte import MEMatte

CONFIGS = Path(__file__).parents[3] / "configs"
RATE, DECAY = 0.65, 0.1

# name: (power of 0.65, weight decay)
TABLE = {
    "backbone.pos_embed": (13, 0.0),
    "backbone.patch_embed.proj.weight": (13, DECAY),
    "backbone.patch_embed.proj.bias": (13, DECAY),
    "backbone.blocks.0.norm1.weight": (12, 0.0),
    "backbone.blocks.0.norm1.bias": (12, 0.0),
    "backbone.blocks.0.attn.qkv.weight": (12, DECAY),
    "backbone.blocks.0.attn.qkv.bias": (12, DECAY),
    "backbone.blocks.0.attn.rel_pos_h": (12, DECAY),
    "backbone.blocks.0.attn.rel_pos_w": (12, DECAY),
    "backbone.blocks.1.attn.proj.weight": (11, DECAY),
    "backbone.blocks.2.mlp.fc1.weight": (10, DECAY),
    "backbone.blocks.2.norm2.weight": (10, 0.0),
    "backbone.blocks.2.efficient_block.fc1.weight": (10, DECAY),
    "backbone.blocks.2.efficient_block.dwconv.bias": (10, DECAY),
    "backbone.blocks.2.efficient_block.eca.conv.weight": (10, DECAY),
    "backbone.blocks.2.residual.conv1.weight": (0, DECAY),
    "backbone.blocks.2.residual.norm1.weight": (0, DECAY),
    "backbone.blocks.2.residual.norm3.bias": (0, DECAY),
    "backbone.blocks.11.mlp.fc2.bias": (1, DECAY),
    "backbone.blocks.11.residual.conv2.weight": (0, DECAY),
    "backbone.routers.0.in_conv.0.weight": (0, 0.0),
    "backbone.routers.0.in_conv.1.weight": (0, DECAY),
    "backbone.routers.3.out_conv.4.bias": (0, DECAY),
    "decoder.convstream.convs.0.conv.weight": (0, DECAY),
    "decoder.convstream.convs.0.bn.weight": (0, 0.0),
    "decoder.fusion_blks.3.conv.bn.bias": (0, 0.0),
    "decoder.matting_head.matting_convs.0.bias": (0, DECAY),
    "decoder.matting_head.matting_convs.1.weight": (0, 0.0),
    "decoder.matting_head.matting_convs.3.weight": (0, DECAY),
}


@pytest.fixture(scope="module")
def settings():
    """Learning rate and weight decay per trainable parameter of MEMatte.

    With a teacher.
    """
    small = {"embed_dim": 16, "num_heads": 2}
    model = MEMatte(ViT(**small, routed=True), DetailCapture(feature_chans=16))
    model.attach_teacher(ViT(**small))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, lr=5e-4, weight_decay=DECAY, layer_decay=RATE)
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


@pytest.mark.parametrize("name", TABLE)
def test_table(settings, name):
    power, decay = TABLE[name]
    assert settings[name] == (pytest.approx(5e-4 * RATE**power), decay)


def test_every_trainable_parameter_is_there_once_and_no_teacher(settings):
    assert len(settings) == 294
    assert not any(name.startswith("teacher") for name in settings)


def test_published_rates():
    wanted = {"pos_embed": 1.8486e-6, "blocks.0.x": 2.844e-6, "blocks.2.x": 6.7314e-6}
    rates = {name: 5e-4 * layer_factor(f"backbone.{name}", 12, 0.65) for name in wanted}
    assert rates == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("step", "value"), [(0, 0.001), (249, 0.996004), (250, 1), (8080, 1), (8081, 0.1), (35017, 0.1), (35018, 0.05)]
)
def test_multiplier_of_mematte_s(step, value):
    config = LazyConfig.load(str(CONFIGS / "MEMatte_S_topk0.25_win_global_long.py"))
    assert instantiate(config.lr_multiplier)(step / config.train.max_iter) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(
    ("config", "max_iter", "period", "milestones"),
    [
        ("MEMatte_S_topk0.25_win_global_long", 40406, 2693, [8081, 35018]),
        ("MEMatte_B_topk0.25_win_global_long", 64650, 4310, [32325, 56030]),
        ("ViTMatte_S_100ep", 134687, 13468, [40406, 121218]),
        ("ViTMatte_B_100ep", 215500, 21550, [64650, 193950]),
    ],
)
def test_published_schedules(config, max_iter, period, milestones):
    loaded = LazyConfig.load(str(CONFIGS / f"{config}.py"))
    found = loaded.train.max_iter, loaded.train.checkpoint_period, list(loaded.lr_multiplier.milestones)
    assert found == (max_iter, period, milestones)


def test_a_shortened_run_keeps_its_warm_up_and_milestones():
    multiplier = stepped_multiplier(1000, [500, 5000], [1, 0.1, 0.05], 250, 0.001)
    found = [multiplier(step / 1000) for step in (0, 125, 250, 499, 500, 999)]
    assert found == pytest.approx([0.001, 0.5005, 1, 1, 0.1, 0.1])


def test_warm_stable_decay_and_lengthening() -> None:
    short, long = warm_stable_decay(1000, 100, 0.3), warm_stable_decay(4000, 100, 0.3)
    values = [short(iteration / 1000) for iteration in range(1000)]
    assert values[0] == pytest.approx(0.001) and values[100:700] == [1.0] * 600
    assert values[850] == pytest.approx(0.5, abs=0.01) and 0 < values[999] < 0.01
    assert values[100:] == sorted(values[100:], reverse=True)
    assert [long(iteration / 4000) for iteration in range(700)] == pytest.approx(values[:700])
    with pytest.raises(ValueError, match="decay_share is 1"):
        warm_stable_decay(1000, 100, 1)


def test_a_run_shorter_than_its_warm_up_still_reaches_the_full_rate() -> None:
    multiplier = warm_stable_decay(60, 100, 0.5)
    assert max(multiplier(iteration / 60) for iteration in range(60)) == 1
