"""Networks of the table of sizes as LazyCalls, which overrides can reach."""

from typing import Any

from detectron2.config import LazyCall as L

from modeling.zoo import MODELS, Part


def network(name: str):
    """A network by its name in the table."""
    return lazy(MODELS[name].network)


def encoder(name: str):
    """The encoder of a network: the teacher of a routed one."""
    return lazy(MODELS[name].network.settings["backbone"])


def lazy(value: Any):
    if isinstance(value, Part):
        return L(value.make)(**{key: lazy(setting) for key, setting in value.settings.items()})
    return list(value) if isinstance(value, tuple) else value
