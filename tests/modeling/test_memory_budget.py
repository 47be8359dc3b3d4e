"""Runs stay within their memory budget and leave nothing behind."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modeling import Predictor
from modeling.inference import vit as executor
from modeling.inference.budget import Limits
from tests.modeling.small import small_mematte, small_vitmatte
from tools.benchmarks.scene import make_scene

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1.1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    ("config", "height", "width", "override"),
    [
        ("MEMatte_S_topk0.25_win_global_long", 900, 1100, []),
        ("ViTMatte_S_100ep", 600, 800, []),
        ("DiffMatte_ViTS", 448, 448, ["model.sample_strategy=ddim1"]),
    ],
)
def test_the_peak_stays_within_the_budget(config: str, height: int, width: int, override: list[str]) -> None:
    """In a fresh process, with a network of full width."""
    command = [sys.executable, "-m", "tools.reference.budget_memory", config, str(height), str(width), "0.6", *override]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    run = json.loads(done.stdout.splitlines()[-1])
    taken, allowed = run["peak"] - run["held"], run["budget"] - run["held"]
    assert 0 < taken < TOLERANCE * allowed
    unbounded, limits = Limits(), Limits(**run["limits"])
    assert limits.max_tokens == unbounded.max_tokens  # what is cut into pieces need not be cut short
    assert limits.chunk_tokens < unbounded.chunk_tokens or limits.tile_px < unbounded.tile_px


def tensor_bytes() -> int:
    """Bytes of all tensors of this process, sparse ones aside."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    tensors = [tensor for tensor in tensors if tensor.layout == torch.strided]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


@pytest.mark.parametrize("build", [small_mematte, small_vitmatte])
def test_images_of_many_sizes_leave_nothing_behind(build) -> None:
    """Position tables in particular, which belong to one size of the grid."""
    predictor = Predictor(build(), device="cpu")
    before = tensor_bytes()
    for side in range(40, 400, 40):
        predictor.predict(*make_scene(side, side + 24, "band"))
    assert tensor_bytes() == before


@pytest.mark.parametrize("build", [small_mematte, small_vitmatte])
def test_the_grid_of_tokens_exists_once_while_blocks_run(build, monkeypatch: pytest.MonkeyPatch) -> None:
    """No second copy of the grid between blocks.

    The branch result of a block is the only other tensor of its size.
    """
    model = build().requires_grad_(False)
    vit, held = model.backbone, []
    run_block = executor.run_block_
    monkeypatch.setattr(
        executor,
        "run_block_",
        lambda block, tokens, *rest: (held.append(tokens.data_ptr()), run_block(block, tokens, *rest))[1],
    )
    executor.encode_patches_(vit, torch.randn(1, 20, 30, vit.embed_dim), Limits(chunk_tokens=64))
    assert len(held) == len(vit.blocks) and len(set(held)) == 1
