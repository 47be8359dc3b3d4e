"""Recorded scores, which stand in `metrics.json` beside the mattes."""

import json
import math
from pathlib import Path

from metrics.scores import METRICS, score_pair
from tools.reference.golden.check import Arrays, Quantity, relative_difference


def check_scores(path: Path, arrays: Arrays) -> list[Quantity]:
    """Compare with the exact values (float64) and with those of the published functions (single precision)."""
    cases = json.loads(path.with_name("metrics.json").read_text())["cases"].values()
    case = next((case for case in cases if case["file"] == path.name), None)
    if case is None:
        raise ValueError(f"metrics.json beside it has no case {path.name}")
    scores = score_pair(arrays["pred"], arrays["target"], arrays["trimap"])
    quantities = [Quantity("unknown_px", abs(scores.counted_px - case["unknown_px"]), 0)]
    for metric in METRICS:
        value = getattr(scores, metric)
        exact, octave = _number(case["float64"][metric]), _number(case["octave"][metric])
        quantities.append(Quantity(f"{metric} (relative)", relative_difference(value, exact), 1e-9))
        share = 0.0 if math.isnan(value) and math.isnan(octave) else abs(value - octave) / max(1e-5 * octave, 1e-8)
        quantities.append(Quantity(f"{metric} (octave; share of its tolerance)", share, 1))
    return quantities


def _number(recorded: float | None) -> float:
    return math.nan if recorded is None else recorded
