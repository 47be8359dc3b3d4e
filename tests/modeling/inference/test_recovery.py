"""Out of memory: recognised, retried in smaller pieces, finally on the CPU."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from modeling.base import MattingNetwork, MattingOutput
from modeling.inference.budget import Limits
from modeling.inference.executors import matte
from modeling.inference.predictor import OUT_OF_MEMORY_RETRIES, Predictor
from modeling.inference.recovery import copy_to_cpu, is_out_of_memory, on_device_or_cpu
from modeling.precision import ExactConvolutions
from tests.modeling.inference.test_predictor import pair
from tests.modeling.small import small_mematte

SAID = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"),
    RuntimeError("could not create a primitive"),
]


@pytest.mark.parametrize("error", SAID, ids=lambda error: str(error)[:30])
def test_every_allocator_is_understood(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("memory")])
def test_other_errors_are_not(error: Exception) -> None:
    assert not is_out_of_memory(error)


def failing(error: Exception, times: int, seen: list[Limits]) -> Callable[..., MattingOutput]:
    """`matte` that raises an error a few times first."""

    def scarce(
        network: MattingNetwork, image: torch.Tensor, trimap: torch.Tensor, limits: Limits, name: str
    ) -> MattingOutput:
        seen.append(limits)
        if len(seen) <= times:
            raise error
        return matte(network, image, trimap, limits, name)

    return scarce


@pytest.mark.parametrize("error", SAID[1:4], ids=["MemoryError", "DefaultCPUAllocator", "cuBLAS"])
def test_every_kind_is_retried(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    predictor, seen = Predictor(small_mematte(), device="cpu"), []
    expected = predictor.predict(*pair(64, 64))
    monkeypatch.setattr("modeling.inference.predictor.matte", failing(error, 1, seen))
    np.testing.assert_allclose(predictor.predict(*pair(64, 64)), expected, atol=1e-6)
    assert [limits.chunk_tokens for limits in seen] == [4096, 2048]


def test_other_errors_are_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, seen = Predictor(small_mematte(), device="cpu"), []
    monkeypatch.setattr("modeling.inference.predictor.matte", failing(RuntimeError("shapes differ"), 9, seen))
    with pytest.raises(RuntimeError, match="shapes differ"):
        predictor.predict(*pair(64, 64))
    assert len(seen) == 1


def test_a_full_device_leaves_the_image_to_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only this image; the next one is tried on the device.

    Half precision of a GPU becomes float32.
    """
    predictor, seen = Predictor(small_mematte(), device="cpu"), []
    expected = predictor.predict(*pair(64, 64))
    predictor.device, predictor.dtype = torch.device("cuda", 0), torch.float16
    view, tries = predictor._view, OUT_OF_MEMORY_RETRIES + 1

    def full(model: MattingNetwork, device: torch.device, *rest: object) -> tuple:
        seen.append(device.type)
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return view(model, device, *rest)

    monkeypatch.setattr(predictor, "_view", full)
    for _ in range(2):
        np.testing.assert_allclose(predictor.predict(*pair(64, 64)), expected, atol=1e-6)
    assert seen == 2 * (["cuda"] * tries + ["cpu"])
    assert "this image is computed on the CPU" in caplog.text


def test_the_copy_for_the_cpu_shares_nothing_and_is_the_same() -> None:
    model = small_mematte()
    copied = copy_to_cpu(model)
    assert not {id(part) for part in model.parameters()} & {id(part) for part in copied.parameters()}
    assert not {part.data_ptr() for part in model.buffers()} & {part.data_ptr() for part in copied.buffers()}
    for ours, theirs in zip(copied.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_work_moves_to_the_cpu_where_the_device_is_full(caplog: pytest.LogCaptureFixture) -> None:
    def work(device: torch.device) -> str:
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return device.type

    assert on_device_or_cpu(work, "cuda") == "cpu"
    assert "computing on the CPU instead" in caplog.text
    with pytest.raises(MemoryError):
        on_device_or_cpu(lambda _: (_ for _ in ()).throw(MemoryError()), "cpu")


def test_work_that_cannot_fit_on_the_device_is_not_tried_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeling.inference.recovery.free", lambda _: 10**9)
    assert on_device_or_cpu(lambda device: device.type, "cuda", needed=10**10) == "cpu"
    assert on_device_or_cpu(lambda device: device.type, "cuda", needed=10**8) == "cuda"


def test_processes_on_one_device_share_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeling.inference.predictor.free", lambda _: 6 * 10**8)
    alone, fifth = (Predictor(small_mematte(), device="cpu", max_memory="auto", shared_by=n) for n in (1, 5))
    assert fifth.choose_limits(4000, 4000).tile_px < alone.choose_limits(4000, 4000).tile_px


@pytest.mark.parametrize(("dtype", "allowed"), [("auto", False), ("fp32", False), ("bf16", False), ("tf32", True)])
def test_float32_convolutions_are_not_rounded_to_tf32_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, dtype: str, allowed: bool
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    predictor, seen = Predictor(small_mematte(), device="cpu", dtype=dtype), []

    def watched(*arguments: object) -> MattingOutput:
        seen.append(torch.backends.cudnn.allow_tf32)
        return matte(*arguments)

    monkeypatch.setattr("modeling.inference.predictor.matte", watched)
    predictor.predict(*pair(40, 40))
    assert seen == [allowed]
    assert torch.backends.cudnn.allow_tf32


def test_the_last_thread_to_leave_restores_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    first, second = ExactConvolutions(), ExactConvolutions()
    first.__enter__()
    second.__enter__()
    first.__exit__()
    assert not torch.backends.cudnn.allow_tf32
    second.__exit__()
    assert torch.backends.cudnn.allow_tf32
