"""Shipped weights: small, self-describing, reproducible, and as good as stated.

The model card states their scores on the samples.
"""

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
SAD = {"MEMatte_T": 13.431, "ViTMatte_T": 13.354}  # on the samples, as measured when the weights were added


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]  # image, trimap, true alpha


def samples(side_px: int | None = None) -> list[Arrays]:
    """The samples, whole or the square in their middle."""
    arrays = [(read_image(pair.image), read_trimap(pair.trimap), read_alpha(pair.alpha)) for pair in SAMPLES]
    if side_px is None:
        return arrays
    corners = [tuple((size - side_px) // 2 for size in image.shape[:2]) for image, _, _ in arrays]
    return [
        tuple(pixels[top : top + side_px, left : left + side_px] for pixels in sample)
        for sample, (top, left) in zip(arrays, corners, strict=True)
    ]


def load(path: Path, dtype: str = "fp32") -> Predictor:
    return Predictor(build_model(shipped_config(path)), path, device="cpu", dtype=dtype)


def alphas(predictor: Predictor, pictures: list[Arrays]) -> list[np.ndarray]:
    return [predictor.predict(image, trimap) for image, trimap, _ in pictures]


def mean_sad(mattes: list[np.ndarray], pictures: list[Arrays]) -> float:
    scores = [
        score_pair(np.rint(matte * 255).astype(np.uint8), alpha, trimap).sad
        for matte, (_, trimap, alpha) in zip(mattes, pictures, strict=True)
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
def test_scores_of_the_samples_are_those_of_the_card(path: Path) -> None:
    pictures = samples()
    assert mean_sad(alphas(load(path), pictures), pictures) == pytest.approx(SAD[path.stem], rel=0.01)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_number_of_threads_does_not_change_the_alpha(path: Path) -> None:
    """On a part of one sample.

    Two threads wait for each other where other programs run.
    """
    pictures = samples(side_px=192)[-1:]
    predictor = load(path)
    with threads(1):
        (first,) = alphas(predictor, pictures)
    with threads(2):
        (second,) = alphas(predictor, pictures)
    assert np.abs(first - second).max() <= 1e-5


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_half_precision_does_not_change_the_score(path: Path) -> None:
    """On parts of the samples.

    bf16 is slow on processors without instructions for it.
    """
    pictures = samples(side_px=192)
    full, half = (mean_sad(alphas(load(path, dtype), pictures), pictures) for dtype in ("fp32", "bf16"))
    assert half == pytest.approx(full, rel=0.01)
