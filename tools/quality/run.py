"""One method over all images, in its own process.

Peak memory is then its own.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch

from data.files import quantise, read_alpha, read_image, read_trimap
from data.folders import Pair
from data.trimap import UNKNOWN, is_unknown
from metrics.scores import score_pair
from modeling.inference.memory import in_use, peak
from tools.quality.methods import Method

CPU = torch.device("cpu")
PATCH = 16
_WARM_UP_PX = 64


def measure(method: Method, pairs: Sequence[Pair], dtype: str, threads: int) -> dict:
    """Scores, seconds, kept tokens per image, and peak memory above start."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    torch.set_num_threads(threads)
    run = method.prepare(dtype)
    run(*_warm_up(), "warm-up")
    held, images = in_use(CPU), {}
    for pair in pairs:
        image, trimap, target = read_image(pair.image), read_trimap(pair.trimap), read_alpha(pair.alpha)
        start = time.perf_counter()
        try:
            matte = run(image, trimap, pair.name)
        except ValueError as error:
            images[pair.name] = {"error": str(error)}
            continue
        seconds = time.perf_counter() - start
        scores = asdict(score_pair(quantise(matte.alpha), target, trimap))
        images[pair.name] = {"seconds": seconds, **scores, "kept": [kept_shares(keep, trimap) for keep in matte.keep]}
    return {"peak_bytes": peak(CPU) - held, "images": images}


def kept_shares(keep: np.ndarray, trimap: np.ndarray) -> dict[str, list[int]]:
    """Numbers of kept and all tokens, for unknown and known ones.

    Args:
        keep: (h, w) bool, of tokens of 16 x 16 pixels.
        trimap: (H, W) uint8.
    """
    rows, columns = keep.shape
    unknown = np.zeros((rows * PATCH, columns * PATCH), bool)
    unknown[: trimap.shape[0], : trimap.shape[1]] = is_unknown(trimap)
    unknown = unknown.reshape(rows, PATCH, columns, PATCH).any(axis=(1, 3))
    return {
        "unknown": [int(keep[unknown].sum()), int(unknown.sum())],
        "known": [int(keep[~unknown].sum()), int((~unknown).sum())],
    }


def _warm_up() -> tuple[np.ndarray, np.ndarray]:
    """Tiny image for every method: known sides, unknown middle."""
    rng = np.random.default_rng(0)
    trimap = np.full((_WARM_UP_PX, _WARM_UP_PX), UNKNOWN, np.uint8)
    trimap[:, :24], trimap[:, 40:] = 0, 255
    return rng.integers(0, 256, (_WARM_UP_PX, _WARM_UP_PX, 3), np.uint8), trimap
