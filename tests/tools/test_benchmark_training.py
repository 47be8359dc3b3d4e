"""Measured training steps, also of the published form, as a table."""

import json

import pytest
import torch
import torch.nn.functional as F

from modeling.backbone import attention
from tools import benchmark_training
from tools.benchmarks import training


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Process-wide changes by the written-out variant."""
    monkeypatch.setattr(F, "scaled_dot_product_attention", F.scaled_dot_product_attention)
    monkeypatch.setattr(attention, "HELD_WEIGHTS", dict(attention.HELD_WEIGHTS))


def test_a_step_is_measured():
    found = training.measure(
        config="ViTMatte_T",
        size=64,
        variant="recomputed",
        batch=1,
        steps=1,
        device="cpu",
        precision="fp32",
        workers=0,
        threads=1,
    )
    assert found["seconds"] > 0 and found["cpu_seconds"] > 0 and found["peak"] >= 0
    assert 0 < found["waiting"] < 1 and found["share"] > 0


def test_attention_written_out_is_the_same_function():
    q, k, v = torch.randn(3, 1, 2, 10, 8)
    bias = torch.randn(1, 2, 10, 10)
    wanted = [F.scaled_dot_product_attention(q, k, v, attn_mask=mask) for mask in (None, bias)]
    training.write_out_attention()
    for mask, expected in zip((None, bias), wanted, strict=True):
        torch.testing.assert_close(attention.attend(q, k, v, mask), expected)


def test_the_table_and_the_exit_code(monkeypatch, capsys, tmp_path):
    def measured(args, config, size, variant):
        point = {"config": config, "size": size, "variant": variant, "batch": 2}
        if variant == "published":
            return {**point, "error": "out of memory"}
        return {**point, "seconds": 4.0, "cpu_seconds": 8.0, "peak": 3 * 10**9, "waiting": 0.25, "share": 0.5}

    monkeypatch.setattr(benchmark_training, "measure_apart", measured)
    arguments = ["--sizes", "512", "--batch", "2", "--output", str(tmp_path / "r.json"), "--variants", "bounded"]
    assert benchmark_training.main(arguments) == 0
    assert "| 512 | 2 | bounded | 4.00 | 8.00 | 0.50 | 3.00 | 25% | 50% |" in capsys.readouterr().out
    assert json.loads((tmp_path / "r.json").read_text())[0]["seconds"] == 4
    assert benchmark_training.main([*arguments, "published"]) == 1
    assert "| published | out of memory |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        benchmark_training.main(["--sizes", "500"])
