"""Settings that cannot work are refused before anything is computed, by name."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from engine.build import load_config
from engine.training.session import build_network, initial_weights
from engine.training.settings import check_settings
from tests.engine.training.test_trainer import tiny

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("max_iter=-5", "train.max_iter is -5; it must be a whole number of at least 1"),
        ("max_iter=six", "train.max_iter is 'six'"),
        ("max_iter=2.5", "train.max_iter is 2.5"),
        ("max_iter=true", "train.max_iter is True"),
        ("max_checkpoints=-1", "train.max_checkpoints is -1"),
        ("max_checkpoints=0", "train.max_checkpoints is 0"),
        ("checkpoint_period=0", "train.checkpoint_period is 0"),
        ("log_period=0", "train.log_period is 0"),
        ("image_period=0", "train.image_period is 0"),
        ("eval_period=0", "train.eval_period is 0"),
        ("total_batch_size=0", "train.total_batch_size is 0"),
        ("max_grad_norm=-1", "train.max_grad_norm is -1; it must be a number above 0, or null"),
        ("max_grad_norm=0", "train.max_grad_norm is 0"),
        ("max_logit_std=.nan", "train.max_logit_std"),
        ("freeze_norms_from=-1", "train.freeze_norms_from is -1"),
        ("ema_decay=1", "train.ema_decay is 1; it must be between 0 and 1"),
        ("output_dir=''", "train.output_dir is ''"),
        ("init_checkpoint=null", "train.init_checkpoint is None; it must be text"),
        ("total_batch_size=99999999999999999999", "it must be a whole number from 1 to 100000"),
        ("seed=9999999999", "train.seed is 9999999999; it must be a whole number from 0 to 2147483647"),
        ("seed=abc", "train.seed is 'abc'"),
    ],
)
def test_senseless_settings_are_refused_by_name(tmp_path, override, message):
    config = tiny(tmp_path, f"train.{override}")
    with pytest.raises(ValueError) as error:
        check_settings(config)
    assert message in str(error.value)


def test_a_config_without_one_of_the_settings_is_refused(tmp_path):
    config = tiny(tmp_path)
    check_settings(config)
    del config.train["log_period"]
    with pytest.raises(ValueError, match=r"no train.log_period; configs/common/train.py lists"):
        check_settings(config)
    with pytest.raises(ValueError, match="no 'train'"):
        check_settings(OmegaConf.create({"train": 5}))


def test_a_config_may_insist_on_weights_to_start_from(tmp_path):
    config = tiny(tmp_path, "train.init_checkpoint='???'")
    check_settings(config)
    with pytest.raises(ValueError, match=r"this config fine-tunes: set train\.init_checkpoint"):
        initial_weights(config)


def test_published_fine_tuning_never_starts_from_random_weights():
    with pytest.raises(ValueError, match=r"this config fine-tunes: set train\.init_checkpoint"):
        initial_weights(load_config(ROOT / "configs" / "MEMatte_S_finetune.py"))
    others = {path.stem for path in (ROOT / "configs").glob("*finetune*.py")} - {"MEMatte_S_finetune"}
    for name in others:
        assert (ROOT / initial_weights(load_config(ROOT / "configs" / f"{name}.py"))).is_file()


def test_other_runs_say_that_they_start_from_random_weights(tmp_path, caplog):
    caplog.set_level("INFO")
    build_network(tiny(tmp_path), from_files=True)
    assert "starting from random weights, since train.init_checkpoint is empty" in caplog.messages
