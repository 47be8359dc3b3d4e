"""One model over all files, in its own process.

Peak memory is then its own.

Started by tools/compare.py with a request as JSON on stdin; answers with one line of JSON on stdout.
"""

import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from data.folders import Pair
from data.trimap import UNKNOWN
from engine.batch.folders import plan, run
from engine.build import build_model
from modeling import Matte, Predictor
from modeling.inference.memory import peak, use_huge_pages
from tools.cli import INTERRUPTED
from tools.comparison.run import no_second_warning

_WARM_UP_PX = 64


@dataclass
class Timed:
    """A predictor that notes how long each prediction took."""

    predictor: Predictor
    seconds: float = 0.0
    pixels: int = 0

    def run(self, image: np.ndarray, trimap: np.ndarray, name: str) -> Matte:
        start = time.perf_counter()
        matte = self.predictor.run(image, trimap, name)  # copied from the device: nothing is left running
        self.seconds += time.perf_counter() - start
        self.pixels += trimap.size
        return matte


def work(request: dict) -> dict:
    """Write the alphas.

    Args:
        request: label, config, checkpoint; pairs as (name, image, trimap); output folder; settings of the predictor.

    Raises:
        ValueError: the model cannot be built, loaded or run with these settings.
    """
    use_huge_pages()
    pairs = [Pair(name, Path(image), Path(trimap)) for name, image, trimap in request["pairs"]]
    jobs = plan(pairs, Path(request["output"]))
    model = build_model(request["config"])
    parameters = sum(parameter.numel() for parameter in model.parameters())  # before norms are folded
    predictor = Predictor(model, request["checkpoint"], **request["settings"])
    side = _WARM_UP_PX
    predictor.predict(np.zeros((side, side, 3), np.uint8), np.full((side, side), UNKNOWN, np.uint8))
    timed = Timed(predictor)
    with logging_redirect_tqdm(), tqdm(total=len(jobs), desc=request["label"], unit="image", disable=None) as bar:
        report = run(timed, jobs, overwrite=True, advance=bar.update)
    return {
        "device": str(predictor.device),
        "parameters": parameters,
        "images": report.done,
        "seconds": timed.seconds,
        "megapixels": timed.pixels / 1e6,
        "peak_bytes": peak(predictor.device),
        "failures": dict(report.failures),
    }


def main() -> int:
    """Exit code 0 with an answer or error, 130 if interrupted."""
    request = json.load(sys.stdin)
    label = request["label"].replace("%", "%%")
    logging.basicConfig(format=f"%(levelname)s: {label}: %(message)s", level=logging.WARNING)
    try:
        with no_second_warning():
            answer = work(request)
    except (ValueError, MemoryError, RuntimeError) as error:  # torch's allocators raise RuntimeError
        answer = {"error": (str(error).strip() or type(error).__name__).splitlines()[0]}
    except KeyboardInterrupt:
        return INTERRUPTED
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
