"""Peak memory of one image in a fresh process with a budget.

    python -m tools.reference.budget_memory MEMatte_S_topk0.25_win_global_long 1024 1024 0.6

The budget is what the process holds with its network loaded, plus a share of what an unbounded run is expected to take.
Prints a line of JSON: budget, held, peak (bytes) and the limits that were chosen.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from engine.build import build_model
from modeling import Predictor
from modeling.inference.budget import Limits
from modeling.inference.executors import memory_cost
from modeling.inference.memory import in_use, peak
from tools.benchmarks.scene import make_scene
from tools.reference.weights import fill_

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CPU = torch.device("cpu")


def measure(config: str, height: int, width: int, share: float, overrides: list[str]) -> dict:
    """One run of the network of `config` with the deterministic weights."""
    torch.set_num_threads(1)
    model = build_model(CONFIGS / f"{config}.py", overrides)
    fill_(model.state_dict())
    predictor = Predictor(model, device="cpu")
    image, trimap = make_scene(height, width, "band")
    held = in_use(CPU)
    predictor.max_memory = held + int(share * memory_cost(model, height, width, Limits()))
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    limits = predictor.choose_limits(height, width)
    predictor.run(image, trimap)
    return {"budget": predictor.max_memory, "held": held, "peak": peak(CPU), "limits": asdict(limits)}


if __name__ == "__main__":
    name, *numbers = sys.argv[1:5]
    print(json.dumps(measure(name, int(numbers[0]), int(numbers[1]), float(numbers[2]), sys.argv[5:])))
