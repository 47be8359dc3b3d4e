"""The shipped weights: small, self-describing, reproducible, and as good on the samples as their card says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from data.files import read_alpha, read_image, read_trimap
from data.folders import find_pairs
from engine.build import build_model, shipped_config
from metrics.scores import score_pair
from modeling import Predictor

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = sorted((ROOT / "weights").glob("*.safetensors"))
SAMPLES = find_pairs(ROOT / "samples")
SAD = {"MEMatte_T": 12.760, "ViTMatte_T": 12.790}  # on the samples, as measured when the weights were added


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def alphas(path: Path, dtype: str = "fp32") -> list[np.ndarray]:
    predictor = Predictor(build_model(shipped_config(path)), path, device="cpu", dtype=dtype)
    return [predictor.predict(read_image(pair.image), read_trimap(pair.trimap), pair.name) for pair in SAMPLES]


def mean_sad(mattes: list[np.ndarray]) -> float:
    scores = [
        score_pair(np.rint(matte * 255).astype(np.uint8), read_alpha(pair.alpha), read_trimap(pair.trimap)).sad
        for matte, pair in zip(mattes, SAMPLES, strict=True)
    ]
    return float(np.mean(scores))


def test_all_are_there() -> None:
    assert {path.stem for path in SHIPPED} == set(SAD)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_they_are_small_and_tell_where_they_come_from(path: Path) -> None:
    assert path.stat().st_size <= 16_000_000
    with safe_open(path, "pt") as file:
        known = file.metadata()
        tensors = [file.get_tensor(name) for name in file.keys()]
        assert all((tensor.dtype == torch.float16) == (tensor.ndim > 1) for tensor in tensors)
    assert known["config"] == path.stem
    assert int(known["step"]) > 0 and len(known["commit"]) >= 40
    assert json.loads(known["metrics"])["sad"] > 0
    assert json.loads(known["data"])["dataset"]["foregrounds"]["sources"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_same_files_same_alphas(path: Path) -> None:
    with threads(1):
        first = alphas(path)
    with threads(2):
        second = alphas(path)
    assert max(np.abs(a - b).max() for a, b in zip(first, second, strict=True)) <= 1e-5
    assert mean_sad(first) == pytest.approx(SAD[path.stem], rel=0.01)
    assert mean_sad(alphas(path, "bf16")) == pytest.approx(mean_sad(first), rel=0.01)
