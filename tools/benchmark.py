"""Measure speed and memory against the published code and Hugging Face's ViTMatte.

Every point runs in a fresh process; the contestants of one size run one after the other, round by round, so that a
noisy machine is noisy for all. Weights are the same everywhere (a function of their names), and the routers' last bias
is shifted so that each keeps the stated share of the tokens of the scene. Peak memory is what a run takes above the
loaded model: resident memory on a CPU (Linux), the allocator's on CUDA.

  python tools/benchmark.py --sizes 512 1024 2048 --output output/benchmark
  python tools/benchmark.py --sizes 2048 --who mematte mematte-published --dtypes fp32 bf16 --rounds 3
  python tools/benchmark.py --sizes 4872x6017 --who mematte --max-memory 2GB
  python tools/benchmark.py --sizes 1024 2048 3072 --who mematte mematte-onnx --max-tokens 16384 --no-flops

Exit codes: 0 all measured, 1 some contestants failed or stopped, 2 wrong arguments.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import tools  # noqa: F401  (puts the repository on the path)
from tools import arguments, cli

if TYPE_CHECKING:
    from tools.benchmarks.worker import Point

CONTESTANTS = ("mematte", "mematte-published", "mematte-onnx", "vitmatte", "vitmatte-published", "transformers")
DEFAULT_CONTESTANTS = [who for who in CONTESTANTS if who != "mematte-onnx"]  # needs requirements-onnx.txt


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument(
        "--sizes",
        type=arguments.size,
        nargs="+",
        default=[(side, side) for side in (512, 1024, 1536, 2048)],
        metavar="WIDTHxHEIGHT",
        help="pixels, or the side of a square (default: 512 1024 1536 2048)",
    )
    parser.add_argument("--who", nargs="+", default=DEFAULT_CONTESTANTS, choices=CONTESTANTS, help="contestants")
    parser.add_argument("--variant", default="S", choices=["S", "B"], help="size of the networks (default: S)")
    parser.add_argument(
        "--unknown",
        default="band",
        choices=["band", "all"],
        help="trimap: a band of 15 %% around a silhouette, or all unknown (default: band)",
    )
    parser.add_argument(
        "--dtypes",
        nargs="+",
        default=["fp32"],
        choices=["fp32", "bf16", "fp16"],
        help="precisions; other implementations run in fp32 only",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--share", type=float, default=0.25, help="share of tokens that routers keep (default: 0.25)")
    parser.add_argument("--max-tokens", type=int, default=18500, help="token cap (default: 18500)")
    parser.add_argument("--max-memory", help="budget of this project's networks, 2GB for example (default: none)")
    parser.add_argument("--rounds", type=int, default=1, help="measurements of each point (default: 1)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads (default: all cores)")
    parser.add_argument("--time-limit", type=float, default=600, help="seconds after which a contestant stops (600)")
    parser.add_argument("--memory-limit", type=float, default=0, help="GB that a process may take (default: no limit)")
    parser.add_argument(
        "--no-flops", action="store_true", help="leave out the runs that count operations and time the parts"
    )
    parser.add_argument("--output", type=Path, help="folder for results.json, table.md and plot.png")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def ask(point: "Point", time_limit: float, calibrate: float | None = None) -> dict:
    """One fresh process; its answer, or {"error": ...}."""
    request = json.dumps({"point": asdict(point), "calibrate": calibrate})
    command = [sys.executable, __file__, "--worker", request]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=time_limit, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"more than {time_limit:.0f} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = done.stderr.strip().splitlines()
        return {"error": f"exit code {done.returncode}: {reason[-1] if reason else 'killed'}"}
    return json.loads(lines[-1])


def run_size(
    args: argparse.Namespace, size: tuple[int, int], contestants: list[tuple[str, str]], folder: Path
) -> list[dict]:
    """Measure all contestants (who, dtype) at one size; failing ones leave the list."""
    import numpy as np

    from tools.benchmarks.worker import Point

    width, height = size
    base = Point(
        who="mematte",
        variant=args.variant,
        height=height,
        width=width,
        unknown=args.unknown,
        dtype="fp32",
        device=args.device,
        max_tokens=args.max_tokens,
        threads=args.threads,
        memory_limit=int(args.memory_limit * 1e9),
        max_memory=args.max_memory,
    )
    shifts: tuple[float, ...] = ()
    if any(who.startswith("mematte") for who, _ in contestants):
        shifts = tuple(ask(base, 4 * args.time_limit, args.share)["shifts"])
    results, reference = [], {}
    for round_number in range(args.rounds):
        for who, dtype in list(contestants):
            file = folder / "alpha.npy"
            first = round_number == 0 and not args.no_flops
            counted = first and "-" not in who and who != "transformers"
            point = replace(base, who=who, dtype=dtype, router_shifts=shifts, alpha_file=str(file), count_flops=counted)
            asked = {"who": who, "dtype": dtype, "width": width, "height": height, "round": round_number}
            answer = {**asked, **ask(point, args.time_limit)}
            answer.pop("point", None)
            if "error" in answer:
                contestants.remove((who, dtype))
            else:
                alpha = np.load(file)
                known = reference.setdefault(point.network, alpha)  # the first contestant of a network is the reference
                answer["difference"] = float(np.abs(alpha - known).max())
            results.append(answer)
            print(json.dumps(answer), file=sys.stderr, flush=True)
    return results


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = parse(argv)
    if args.worker:
        from tools.benchmarks.worker import main as work

        work(args.worker)
        return 0
    from tools.benchmarks.report import plot, table

    ours = ("mematte", "vitmatte")
    contestants = [(who, dtype) for who in args.who for dtype in (args.dtypes if who in ours else ["fp32"])]
    started = list(contestants)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for size in args.sizes:
            results += run_size(args, size, contestants, Path(folder))
    settings = {name: value for name, value in vars(args).items() if name not in ("worker", "output")}
    record = {"machine": platform.processor() or platform.machine(), "settings": settings, "results": results}
    cli.say(table(results))
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "results.json").write_text(json.dumps(record, indent=1) + "\n")
        (args.output / "table.md").write_text(table(results) + "\n")
        plot(results, args.output / "plot.png")
    return 0 if contestants == started else 1


if __name__ == "__main__":
    sys.exit(main())
