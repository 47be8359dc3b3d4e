"""Early checks of a run's settings; messages name the key."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

_WHOLE_UP_TO = {"seed": (0, 2**31 - 1), "total_batch_size": (1, 100_000)}
_WHOLE = {  # smallest allowed value
    "accumulate": 1,
    "max_iter": 1,
    "checkpoint_period": 1,
    "max_checkpoints": 1,
    "eval_period": 1,
    "log_period": 1,
    "image_period": 1,
}
_WHOLE_OR_NONE = {"freeze_norms_from": 0}
_POSITIVE_OR_NONE = ("max_grad_norm", "max_logit_std")
_SWITCHES = ("checkpoint_activations", "compile", "cudnn_benchmark")
_TEXTS = (
    "output_dir",
    "init_checkpoint",
    "teacher_checkpoint",
    "validation_root",
    "wandb_project",
    "device",
    "precision",
    "max_memory",
)


def check_settings(config: DictConfig) -> None:
    """Refuse settings under `train` that cannot work.

    Raises:
        ValueError: naming the first such setting, its value, and what is allowed.
    """
    train = OmegaConf.select(config, "train")
    if not isinstance(train, DictConfig):
        raise ValueError("the config has no 'train' with the settings of a run; see configs/common/train.py")
    for name, (smallest, largest) in _WHOLE_UP_TO.items():
        value = _setting(train, name)
        fits = _is_whole(value) and smallest <= value <= largest
        _require(fits, name, value, f"a whole number from {smallest} to {largest}")
    for name, smallest in _WHOLE.items():
        value = _setting(train, name)
        _require(_is_whole(value) and value >= smallest, name, value, f"a whole number of at least {smallest}")
    for name, smallest in _WHOLE_OR_NONE.items():
        value = _setting(train, name)
        fits = value is None or (_is_whole(value) and value >= smallest)
        _require(fits, name, value, f"a whole number of at least {smallest}, or null")
    for name in _POSITIVE_OR_NONE:
        value = _setting(train, name)
        _require(value is None or (_is_number(value) and value > 0), name, value, "a number above 0, or null")
    for name in _SWITCHES:
        value = _setting(train, name)
        _require(isinstance(value, bool), name, value, "true or false")
    decay = _setting(train, "ema_decay")
    fits = decay is None or (_is_number(decay) and 0 < decay < 1)
    _require(fits, "ema_decay", decay, "between 0 and 1, for example 0.999, or null")
    for name in _TEXTS:
        if not OmegaConf.is_missing(train, name):  # the weights that a fine-tuning needs are asked for later
            value = _setting(train, name)
            _require(isinstance(value, str), name, value, "text")
    _require(bool(train.output_dir.strip()), "output_dir", train.output_dir, "the folder that the run writes to")


def _setting(train: DictConfig, name: str) -> Any:
    if name not in train:
        raise ValueError(f"the config has no train.{name}; configs/common/train.py lists the settings of a run")
    return train[name]


def _require(fits: bool, name: str, value: Any, allowed: str) -> None:
    if not fits:
        raise ValueError(f"train.{name} is {value!r}; it must be {allowed}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value < float("inf")
