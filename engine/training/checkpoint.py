"""Training checkpoints: safe against kills, read without running code."""

import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from data.files import reason, remove_leftovers, replacing
from engine.training.run_folder import POINTER, numbered_checkpoints
from modeling.checkpoints.files import CheckpointError, one_line, read_pickle
from modeling.checkpoints.weights import mismatches

logger = logging.getLogger(__name__)


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Replace a file by what `write` produces, whole and on disk.

    An OSError names `path`.
    """
    try:
        with replacing(path) as file:
            write(file)
    except OSError as error:
        raise OSError(error.errno, reason(error), str(path)) from error


class _Sink:
    """File for torch.save that keeps the reason of a failed write.

    torch reports the failure without it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.error = file, None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def _save(data: dict[str, Any], file: BinaryIO) -> None:
    sink = _Sink(file)
    try:
        torch.save(data, sink)
    except Exception as error:
        raise sink.error or error from error


def random_state() -> dict[str, Any]:
    """State of all random generators, in types of the weights-only reader."""
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
    """Set the generators of this process to a state returned by `random_state`."""
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
    """fvcore's checkpointer with atomic writes, safe reading and random states.

    The states are those of all processes; reading is strict.

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
        write_atomically(path, lambda file: _save(data, file))
        if tag:
            self.tag_last_checkpoint(path.name)
        logger.info("wrote %s", path)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        content = last_filename_basename.encode()
        write_atomically(Path(self.save_dir, POINTER), lambda file: file.write(content))

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load strictly, with this process's random state.

        Raises CheckpointError for a misfit.
        """
        try:
            rest = super().load(path, checkpointables)
            if not isinstance(rest["iteration"], int) or not isinstance(rest["description"], dict):
                raise TypeError("iteration or description are missing")
            states = rest.pop("random", [])
            if len(states) == comm.get_world_size():
                restore_random_state(states[comm.get_rank()])
        except CheckpointError:
            raise
        except Exception as error:  # states of another program, or damaged ones, raise errors of many types
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise CheckpointError(
                f"{path}: no run can go on from this checkpoint ({reason}); name another one in the file {POINTER}"
            ) from error
        if len(states) != comm.get_world_size():
            logger.warning(
                "%s was written by %d processes, now there are %d: the run goes on with other random numbers",
                path,
                len(states),
                comm.get_world_size(),
            )
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
    """Periodic `model_<iteration>.pth`, and `model_final.pth` at the end.

    Also written before an early end.

    Args:
        checkpointer: writes the files.
        period: iterations.
        max_to_keep: numbered files to keep; older ones are deleted.
    """

    def __init__(self, checkpointer: AtomicCheckpointer, period: int, max_to_keep: int) -> None:
        self.checkpointer, self.period, self.max_to_keep = checkpointer, period, max_to_keep

    def before_train(self) -> None:
        if comm.is_main_process():
            remove_leftovers(Path(self.checkpointer.save_dir))

    def after_step(self) -> None:
        with self.trainer.clock.phase("checkpoints"):
            self._save_where_due()

    def _save_where_due(self) -> None:
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter:
            self.checkpointer.save("model_final", iteration=self.trainer.iter)
        elif done % self.period == 0 or self.trainer.stopping:
            self.checkpointer.save(f"model_{self.trainer.iter:07d}", iteration=self.trainer.iter)
            self._prune()

    def _prune(self) -> None:
        if comm.is_main_process():
            for old in numbered_checkpoints(Path(self.checkpointer.save_dir))[: -self.max_to_keep]:
                old.unlink()
