"""Scores of a folder as a table, as JSON and as CSV."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

from metrics.folder import FolderScores, ImageScore
from metrics.scores import METRICS

WORST_SHOWN = 10
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def as_dict(result: FolderScores) -> dict[str, Any]:
    """Result in JSON's types; null where a number is undefined."""
    return {
        "region": "whole" if result.whole_image else "unknown",
        "mean": result.mean or dict.fromkeys(METRICS),
        "scored": len(result.scored),
        "missing": len(result.missing),
        "without_unknown": len(result.without_unknown),
        "failed": len(result.errors),
        "images": [{"name": image.name, **_values(image)} for image in result.images if image.scores is not None],
        "missing_names": result.missing,
        "errors": [{"name": image.name, "error": image.error} for image in result.errors],
    }


def _values(image: ImageScore) -> dict[str, float | None]:
    defined = image.scores is not None and image.scores.defined
    return {metric: getattr(image.scores, metric) if defined else None for metric in METRICS}


def as_json(result: FolderScores) -> str:
    """The result as JSON text."""
    return json.dumps(as_dict(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(result: FolderScores) -> str:
    """One row per scored image; empty cells where scores are undefined.

    A name that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    rows = csv.DictWriter(text, ["name", *METRICS], lineterminator="\n")
    rows.writeheader()
    scored = (image for image in result.images if image.scores is not None)
    rows.writerows({"name": _inert(image.name), **_values(image)} for image in scored)
    return text.getvalue()


def _inert(name: str) -> str:
    return f"'{name}" if name.startswith(_FORMULA_STARTS) else name


def as_table(result: FolderScores, shown: Callable[[str], str] = str) -> str:
    """Table of means and largest SAD, and the images left out.

    Names as `shown` gives them.
    """
    region = "whole image" if result.whole_image else "unknown region"
    lines = [f"{len(result.scored)} images scored, {region} (SAD, Grad, Conn / 1000; MSE x 1000)"]
    worst = sorted(result.scored, key=lambda image: -image.scores.sad)[:WORST_SHOWN]
    width = max([len("worst by SAD"), *(len(shown(image.name)) for image in worst)])
    if result.mean:
        lines += ["", f"{'':{width}}" + "".join(f"{metric.upper():>11}" for metric in METRICS)]
        lines += [_row("mean", width, result.mean), "", "worst by SAD"]
        lines += [_row(shown(image.name), width, _values(image)) for image in worst]
    left_out = (
        (len(result.missing), "without prediction"),
        (len(result.without_unknown), "without unknown pixels"),
        (len(result.errors), "failed"),
    )
    lines += [""] if any(count for count, _ in left_out) else []
    lines += [f"{count} {reason}, not in the mean" for count, reason in left_out if count]
    return "\n".join(lines)


def _row(name: str, width: int, values: dict[str, float]) -> str:
    return f"{name:{width}}" + "".join(f"{values[metric]:11.4f}" for metric in METRICS)
