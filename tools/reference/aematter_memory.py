"""Peak memory and time of AEMatter in a fresh process.

Everything at once, or within limits.

python -m tools.reference.aematter_memory bounded 2048
python -m tools.reference.aematter_memory whole 2048
python -m tools.reference.aematter_memory bounded+whole 512     # one after the other, the larger one last
"""

import json
import sys
import time
from pathlib import Path

import torch

from modeling.aematter import AEMatter
from modeling.inference.budget import Limits
from modeling.inference.executors import matte

STATUS = Path("/proc/self/status")


def peak_mib() -> float:
    """Peak resident size of this process, without its parent's.

    `getrusage` would include that of the process that forked it.
    """
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024  # given in KiB


@torch.inference_mode()
def measure(model: AEMatter, mode: str, side: int, limits: Limits) -> dict[str, float]:
    """Seconds and memory for a square, all unknown image of `side` px."""
    image = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8)
    trimap = torch.full((1, 1, side, side), 128, dtype=torch.uint8)
    before, start = peak_mib(), time.perf_counter()
    if mode == "whole":
        model(image.float() / 255, trimap.float() / 255)
    else:
        matte(model, image, trimap, limits)
    return {"before_mib": before, "peak_mib": peak_mib(), "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    name, pixels, *bounds = sys.argv[1:]
    torch.manual_seed(0)
    network = AEMatter().eval()
    for part in name.split("+"):
        print(json.dumps(measure(network, part, int(pixels), Limits(None, *map(int, bounds)))))
