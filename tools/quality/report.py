"""Tables of the measurements."""

from collections.abc import Mapping

import numpy as np

from metrics.scores import METRICS


def common_images(results: Mapping[str, dict]) -> list[str]:
    """Images done by every method."""
    sets = [{name for name, image in result["images"].items() if "error" not in image} for result in results.values()]
    return sorted(set.intersection(*sets)) if sets else []


def kept_share(result: dict, kind: tuple[str, ...] = ("unknown", "known"), block: int | None = None) -> float | None:
    """Share of kept tokens of one block or all; None without routing."""
    kept = total = 0
    for image in result["images"].values():
        for index, shares in enumerate(image.get("kept", [])):
            if block in (None, index):
                kept += sum(shares[name][0] for name in kind)
                total += sum(shares[name][1] for name in kind)
    return kept / total if total else None


def score_table(results: Mapping[str, dict]) -> str:
    """Markdown, one line per method: means over images common to all."""
    names = common_images(results)
    lines = [
        "| method | SAD | MSE | Grad | Conn | seconds | peak memory, MiB | tokens kept |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for label, result in results.items():
        images = [result["images"][name] for name in names]
        means = " | ".join(f"{np.mean([image[metric] for image in images]):.2f}" for metric in METRICS)
        seconds, share = np.mean([image["seconds"] for image in images]), kept_share(result)
        kept = "" if share is None else f"{100 * share:.1f} %"
        lines.append(f"| {label} | {means} | {seconds:.2f} | {result['peak_bytes'] / 2**20:.0f} | {kept} |")
    return "\n".join(lines)


def routing_table(result: dict) -> str:
    """Markdown: kept unknown and known tokens of each block."""
    blocks = max((len(image.get("kept", [])) for image in result["images"].values()), default=0)
    lines = ["| routed block | unknown tokens kept | known tokens kept | all |", "|---|---|---|---|"]
    for block in range(blocks):
        shares = [kept_share(result, kind, block) for kind in (("unknown",), ("known",), ("unknown", "known"))]
        cells = " | ".join("" if share is None else f"{100 * share:.1f} %" for share in shares)
        lines.append(f"| {block + 1} | {cells} |")
    return "\n".join(lines)
