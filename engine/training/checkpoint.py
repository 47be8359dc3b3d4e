"""Training checkpoints: written so that a kill at any moment leaves a loadable one, read without running code."""

import logging
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from modeling.checkpoints.files import CheckpointError, one_line, read_pickle
from modeling.checkpoints.weights import mismatches

logger = logging.getLogger(__name__)

POINTER = "last_checkpoint"
_NUMBERED = re.compile(r"model_\d+\.pth")


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Let `write` fill a temporary file beside `path`, bring it to the disk, then give it its name."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def random_state() -> dict[str, Any]:
    """State of every random generator of this process, in types that a weights-only reader accepts."""
    version, internal, gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 (libraries may draw from it)
    return {
        "python": [version, list(internal), gauss],
        "numpy": {
            "key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Undo what happened to the generators since `random_state`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    saved = state["numpy"]
    np.random.set_state(  # noqa: NPY002
        {
            "bit_generator": "MT19937",
            "state": {"key": saved["key"].numpy().astype(np.uint32), "pos": saved["pos"]},
            "has_gauss": saved["has_gauss"],
            "gauss": saved["gauss"],
        }
    )
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


class AtomicCheckpointer(Checkpointer):
    """fvcore's checkpointer with atomic writes, strict and safe reading, and the random states of all processes.

    All processes must call `save` together.

    Args:
        model: bare or wrapped.
        save_dir: folder of the run.
        description: plain data about the run that goes into every file (config, data).
        checkpointables: further objects with `state_dict` and `load_state_dict`.
    """

    def __init__(self, model: nn.Module, save_dir: str, description: dict[str, Any], **checkpointables: Any) -> None:
        super().__init__(model, save_dir, save_to_disk=comm.is_main_process(), **checkpointables)
        self.description = description

    def save(self, name: str, tag: bool = True, **kwargs: Any) -> None:
        """Write `<name>.pth`; `tag` makes it the one to resume from."""
        states = comm.gather(random_state())
        if not self.save_to_disk:
            return
        data = {"model": self.model.state_dict(), "random": states, "description": self.description, **kwargs}
        for key, checkpointable in self.checkpointables.items():
            data[key] = checkpointable.state_dict()
        path = Path(self.save_dir, f"{name}.pth")
        write_atomically(path, lambda file: torch.save(data, file))
        if tag:
            self.tag_last_checkpoint(path.name)
        logger.info("wrote %s", path)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        content = last_filename_basename.encode()
        write_atomically(Path(self.save_dir, POINTER), lambda file: file.write(content))

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """As the base class', strictly, with this process' random state; raises CheckpointError for a misfit."""
        try:
            rest = super().load(path, checkpointables)
            if not isinstance(rest["iteration"], int) or not isinstance(rest["description"], dict):
                raise TypeError("iteration or description are missing")
            states = rest.pop("random", [])
            if len(states) == comm.get_world_size():
                restore_random_state(states[comm.get_rank()])
        except CheckpointError:
            raise
        except Exception as error:  # what states of another program, or damaged ones, lead to is beyond listing
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise CheckpointError(
                f"{path}: no run can go on from this checkpoint ({reason}); name another one in the file {POINTER}"
            ) from error
        if len(states) != comm.get_world_size():
            logger.warning(
                "%s was written by %d processes, now there are %d: the run goes on with other random numbers",
                path, len(states), comm.get_world_size(),
            )  # fmt: skip
        return rest

    def _load_file(self, f: str) -> dict[str, Any]:
        return read_pickle(f, mapped=False)

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.pop("model")
        problems = mismatches(self.model.state_dict(), state)
        if problems:
            raise CheckpointError(f"the checkpoint to resume from does not fit the config: {'; '.join(problems)}")
        self.model.load_state_dict(state)


class Checkpoints(HookBase):
    """Writes `model_<iteration>.pth` every `period` iterations and before an early end, `model_final.pth` at the end.

    Args:
        checkpointer: who writes.
        period: iterations.
        max_to_keep: numbered files that stay; older ones are deleted.
    """

    def __init__(self, checkpointer: AtomicCheckpointer, period: int, max_to_keep: int) -> None:
        self.checkpointer, self.period, self.max_to_keep = checkpointer, period, max_to_keep

    def before_train(self) -> None:
        if comm.is_main_process():
            for leftover in Path(self.checkpointer.save_dir).glob("*.tmp"):  # of a process that was killed
                leftover.unlink(missing_ok=True)

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter:
            self.checkpointer.save("model_final", iteration=self.trainer.iter)
        elif done % self.period == 0 or self.trainer.stopping:
            self.checkpointer.save(f"model_{self.trainer.iter:07d}", iteration=self.trainer.iter)
            self._prune()

    def _prune(self) -> None:
        if comm.is_main_process():
            folder = Path(self.checkpointer.save_dir)
            numbered = sorted(path for path in folder.glob("model_*.pth") if _NUMBERED.fullmatch(path.name))
            for old in numbered[: -self.max_to_keep]:
                old.unlink()
