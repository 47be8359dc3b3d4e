"""AEMatter: the published entries; bounded equals whole; no NaN in half precision."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from modeling.aematter import AEMatter
from modeling.backbone.attention import attend_precise
from modeling.checkpoints.weights import CheckpointError
from modeling.decoder.axis_attention import ContextBlock, context_stage
from modeling.inference.aematter import attend_chunked
from modeling.inference.budget import Limits
from modeling.inference.executors import matte, memory_cost
from modeling.inputs import is_unknown
from tools.reference.aematter_memory import STATUS
from tools.reference.golden import onehot_family as goldens
from tools.reference.golden.files import key_list, load_golden, published_keys

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model() -> AEMatter:
    return goldens.build("aematter")


@pytest.fixture(scope="module", autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_state_dict_is_the_published_one(model: AEMatter):
    assert key_list(model) == published_keys("aematter")
    assert goldens.checksum(model) == 0x10910554


@pytest.mark.parametrize("size", [(1, 1), (15, 33), (64, 64), (96, 31)])
def test_bounded_equals_whole_at_any_size(model: AEMatter, size: tuple[int, int]):
    image, trimap = goldens.random_pair(*size)
    whole = model(image.float() / 255, trimap.float() / 255).alpha
    bounded = matte(model, image, trimap, goldens.SMALLEST).alpha
    assert whole.shape == bounded.shape == (1, 1, *size)
    torch.testing.assert_close(bounded[trimap == 128], whole[trimap == 128], atol=2e-5, rtol=0)


def test_batch_equals_singles(model: AEMatter):
    pairs = [goldens.random_pair(40, 64, seed) for seed in (1, 2)]
    image, trimap = (torch.cat(parts).float() / 255 for parts in zip(*pairs, strict=True))
    together = model(image, trimap).alpha
    singles = torch.cat([model(image[i : i + 1], trimap[i : i + 1]).alpha for i in range(2)])
    torch.testing.assert_close(together, singles, atol=2e-5, rtol=0)


def test_image_without_unknown_pixels_needs_no_network(model: AEMatter):
    image, trimap = goldens.random_pair(20, 30)
    trimap[trimap == 128] = 255
    assert not matte(model, image, trimap, Limits()).alpha.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_finite_in_half_precision_with_huge_inputs(model: AEMatter, dtype: torch.dtype):
    image, trimap = goldens.random_pair(64, 64)
    with torch.autocast("cpu", dtype=dtype):
        assert model(100 * image.float() / 255, trimap.float() / 255).alpha.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_context_stays_exact_in_half_precision_with_huge_logits(dtype: torch.dtype):
    """Half-precision logits overflow from a scale of 100 on.

    Here autocast must not change anything.
    """
    torch.manual_seed(0)
    block = ContextBlock(640, 512).eval()
    source, guide = 1000 * torch.randn(1, 640, 4, 6), torch.randn(1, 512, 4, 6)
    expected = context_stage([block], source, guide)
    assert expected.isfinite().all()
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(context_stage([block], source, guide), expected)


def test_half_precision_alpha_stays_close(model: AEMatter):
    """On the middle of the picture.

    bfloat16 is slow on processors without instructions for it.
    """
    image, trimap = (part[..., 32:96, 40:120] for part in goldens.tensors(load_golden("aematter_a_128x160")))
    expected = matte(model, image, trimap, Limits()).alpha
    with torch.autocast("cpu", dtype=torch.bfloat16):
        alpha = matte(model, image, trimap, Limits()).alpha
    unknown = is_unknown(trimap)
    assert unknown.sum() > 100
    assert (alpha - expected)[unknown].abs().mean() < 0.02


@pytest.mark.parametrize("max_logits", [1, 300, 5_000, 10**9])
def test_attention_in_chunks_equals_one_piece(max_logits: int):
    torch.manual_seed(1)
    q, k, v = torch.randn(3, 4, 2, 15, 8)
    torch.testing.assert_close(attend_chunked(q, k, v, max_logits), attend_precise(q, k, v))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attend_precise(q, k, v), expected)


def test_checkpoint_of_the_pt20_branch_is_refused_by_name(model: AEMatter):
    state = dict(model.state_dict())
    assert AEMatter.convert_state_dict(state) is state
    for i in (1, 2, 3):
        del state[f"trans{i}.gamma"]
    with pytest.raises(CheckpointError, match="PT20 branch"):
        AEMatter.convert_state_dict(state)


def test_training_passes_gradients_outside_the_range():
    with torch.enable_grad():
        model = AEMatter().train()
        with torch.no_grad():
            model.convo[4].bias.fill_(5.0)  # alpha far above 1
        image, trimap = goldens.random_pair(32, 32)
        alpha = model(image.float() / 255, trimap.float() / 255).alpha
        assert alpha.max() == 1
        alpha.mean().backward()
    assert model.convo[4].bias.grad.item() == pytest.approx(1.0)
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.skipif(not STATUS.exists(), reason="peak memory is read from /proc")
def test_limits_bound_memory(model: AEMatter):
    """In a fresh process, beyond the network itself."""
    side = 384
    limits = Limits(chunk_tokens=1024, tile_px=64 * side)
    arguments = ["bounded+whole", str(side), str(limits.chunk_tokens), str(limits.tile_px)]
    command = [sys.executable, "-m", "tools.reference.aematter_memory", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    bounded, whole = (json.loads(line) for line in done.stdout.splitlines())
    grown = bounded["peak_mib"] - bounded["before_mib"]
    assert 0 < grown < (whole["peak_mib"] - bounded["before_mib"]) / 2
    assert grown * 2**20 < memory_cost(model, side, side, limits)


def test_cost_model_follows_the_image_and_the_limits(model: AEMatter):
    base = memory_cost(model, 1000, 1000, Limits())
    assert memory_cost(model, 2000, 1000, Limits()) > base > memory_cost(model, 1000, 1000, Limits(tile_px=160 * 160))
