"""Exponential moving average of the weights.

It is scored in validation, kept in checkpoints, and exported by default.
"""

from typing import Any

from detectron2.engine import HookBase

from modeling.base import MattingNetwork


class WeightAverage:
    """Moving average of a network's weights and batch-norm statistics.

    The decay grows with the number of steps up to `decay`, so that the random start hardly counts in short runs.

    Args:
        model: bare network; its teacher is left out.
        decay: largest share of the old average that a step keeps, for example 0.999.
    """

    def __init__(self, model: MattingNetwork, decay: float) -> None:
        from timm.utils import ModelEmaV3  # imports all of timm: only where it is used

        self.source, self.restored = model, False
        with model.without_teacher():
            self._average = ModelEmaV3(model, decay=decay, use_warmup=True)

    @property
    def model(self) -> MattingNetwork:
        """Network that holds the averaged weights, in evaluation mode."""
        return self._average.module

    def restart(self) -> None:
        """Set the average to the present weights."""
        with self.source.without_teacher():
            self._average.set(self.source)

    def update(self, steps_done: int) -> None:
        """Take the weights after so many steps into the average."""
        with self.source.without_teacher():
            self._average.update(self.source, steps_done)

    def state_dict(self) -> dict[str, Any]:
        """Averaged tensors under the names of the network."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the average of a checkpoint, strictly."""
        self.model.load_state_dict(state)
        self.restored = True


class AverageWeights(HookBase):
    """Updates of the moving average, before the hooks that score and save."""

    def __init__(self, average: WeightAverage) -> None:
        self.average = average

    def after_step(self) -> None:
        self.average.update(self.trainer.iter + 1)
