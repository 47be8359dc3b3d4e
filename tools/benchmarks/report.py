"""Tables and plots of benchmark results."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

Key = tuple[int, int, str, str]  # width, height, who, dtype


def collect(results: Sequence[dict]) -> dict[Key, dict]:
    """One row per point: medians over rounds, or its error."""
    groups = defaultdict(list)
    for result in results:
        groups[result["width"], result["height"], result["who"], result["dtype"]].append(result)
    rows = {}
    for key, group in groups.items():
        good = [result for result in group if "error" not in result]
        if not good:
            rows[key] = {"error": group[0]["error"]}
            continue
        rows[key] = {**good[0], "seconds": median(result["seconds"] for result in good)}
        for name in ("peak", "process_peak"):
            rows[key][name] = median(result[name] for result in good)
    return rows


def table(results: Sequence[dict]) -> str:
    """Markdown, a row a point."""
    lines = [
        "| pixels | network | precision | seconds | peak GB above the model | of the process | GFLOP "
        "| of the machine's matrix rate: all | linears | convolutions | kept tokens per block | largest difference |",
        "|" + "---|" * 12,
    ]
    for (width, height, who, dtype), row in collect(results).items():
        start = f"| {width} x {height} | {who} | {dtype} |"
        if "error" in row:
            lines.append(f"{start} stopped: {row['error']} | | | | | | | | |")
            continue
        gflop = row.get("gflop")
        timed = [{"gflop": gflop, "seconds": row["seconds"]}, *row["parts"].values()] if gflop else []
        shares = [f"{part['gflop'] / part['seconds'] / row['matrix_gflops']:.0%}" for part in timed] or [""] * 3
        kept = ", ".join(map(str, row["kept"]))
        measured = f"{row['seconds']:.2f} | {row['peak'] / 1e9:.3f} | {row['process_peak'] / 1e9:.2f}"
        measured += f" | {f'{gflop:.0f}' if gflop else ''} | {' | '.join(shares)}"
        lines.append(f"{start} {measured} | {kept} | {row['difference']:.1e} |")
    return "\n".join(lines)


def plot(results: Sequence[dict], path: Path) -> None:
    """Memory and latency against megapixels, a line a contestant."""
    from matplotlib.figure import Figure

    lines = defaultdict(list)
    for (width, height, who, dtype), row in collect(results).items():
        if "error" not in row:
            lines[f"{who} {dtype}"].append((width * height / 1e6, row["peak"] / 1e9, row["seconds"]))
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, column, label in zip(panels, (1, 2), ("peak memory above the model, GB", "seconds"), strict=True):
        for name, points in lines.items():
            points.sort()
            panel.plot([point[0] for point in points], [point[column] for point in points], "o-", label=name)
        panel.set(xscale="log", yscale="log", xlabel="megapixels", ylabel=label)
        panel.grid(True, which="both", alpha=0.3)
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
