import pytest

from modeling.inference.budget import Limits, fit, parse_memory
from modeling.inference.executors import memory_cost
from tests.modeling.small import small_mematte, small_vitmatte


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4 * 10**9), ("1.5 GiB", 3 * 2**29), ("800mb", 8 * 10**8), ("12", 12), (" 3 B ", 3)]
)
def test_amounts_of_memory(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0GB", "4 TB or so", "1e9", "nan"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an amount of memory"):
        parse_memory(text)


def cost(limits: Limits) -> int:
    return 1000 + 10 * limits.chunk_tokens + limits.tile_px + 100 * (limits.max_tokens or 0)


def test_a_generous_budget_changes_nothing() -> None:
    assert fit(Limits(), cost, 10**9) == Limits()


def test_chunks_and_tiles_shrink_before_the_cap() -> None:
    chosen = fit(Limits(), cost, cost(Limits()) // 3 * 2 + 100 * 6000)
    assert chosen.max_tokens == Limits().max_tokens
    assert cost(chosen) <= cost(Limits())
    tight = fit(Limits(), cost, 10**6)
    assert tight.max_tokens < Limits().max_tokens
    assert cost(tight) <= 10**6


def test_what_never_fits_is_told_with_figures() -> None:
    with pytest.raises(ValueError, match=r"needs about 0\.00 GB where 0\.00 GB are left: allow more memory"):
        fit(Limits(), cost, 100)


def test_half_the_working_set_keeps_the_cap() -> None:
    half = Limits().halved()
    assert (half.max_tokens, half.chunk_tokens) == (Limits().max_tokens, Limits().chunk_tokens // 2)
    assert half.tile_px < Limits().tile_px


@pytest.mark.parametrize("build", [small_mematte, small_vitmatte])
def test_the_cost_model_grows_with_everything(build) -> None:
    model = build()
    base = memory_cost(model, 1000, 1000, Limits())
    assert memory_cost(model, 2000, 1000, Limits()) > base
    assert memory_cost(model, 1000, 1000, Limits(chunk_tokens=1024, tile_px=160 * 160)) < base
