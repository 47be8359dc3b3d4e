"""Time, memory, data waits and matrix rate of training steps.

The matrix rate is the share of the machine's own.

  python tools/benchmark_training.py --sizes 512 --steps 2
  python tools/benchmark_training.py --sizes 512 1024 --variants published bounded recomputed --output training.json

Each point is a process of its own: network with a teacher of random weights, criterion, optimiser and loader of a
config, on made files. `published` computes attention written out, whole matrices and no fused kernels; `bounded` is
this code base; `recomputed` adds train.checkpoint_activations; `compiled` adds train.compile.
A table in Markdown goes to stdout. Exit codes: 0 all measured, 1 some points failed, 2 wrong arguments.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import tools  # noqa: F401  (puts the repository on the path)

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = ("published", "bounded", "recomputed", "compiled")
DEFAULT = "MEMatte_S_topk0.25_win_global_long"
HEADER = (
    "| config | crop px | batch | variant | seconds per step | CPU seconds | images/s | peak GB above the model | "
    "waiting for data | share of matrix rate |"
)


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--configs", nargs="+", default=[DEFAULT], metavar="NAME", help="names in configs/ (default: MEMatte-S)")
    add(
        "--sizes", nargs="+", type=int, default=[512, 1024], metavar="PX", help="sides of the crops (default: 512 1024)"
    )
    add("--batch", type=int, default=1, metavar="N", help="crops per step (default: %(default)s)")
    add("--steps", type=int, default=3, metavar="N", help="timed steps, after a first one (default: %(default)s)")
    add(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=["published", "bounded", "recomputed"],
        help="ways to compute",
    )
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add("--precision", default="fp32", help="fp32, bf16, fp16 or auto (default: %(default)s)")
    add("--workers", type=int, default=1, metavar="N", help="loading processes (default: %(default)s)")
    add("--threads", type=int, default=0, metavar="N", help="of the CPU; 0: as torch chooses (default: %(default)s)")
    add("--output", type=Path, metavar="FILE", help="the same as JSON")
    add("--point", help=argparse.SUPPRESS)  # of the process that measures it
    return parser


def row(result: dict) -> str:
    """Format a point as a row of the table."""
    point = f"| {result['config']} | {result['size']} | {result['batch']} | {result['variant']} |"
    if "error" in result:
        return f"{point} {result['error']} | | | | | |"
    rate = result["batch"] / result["seconds"]
    return (
        f"{point} {result['seconds']:.2f} | {result['cpu_seconds']:.2f} | {rate:.2f} | {result['peak'] / 1e9:.2f} | "
        f"{result['waiting']:.0%} | {result['share']:.0%} |"
    )


def measure_apart(args: argparse.Namespace, config: str, size: int, variant: str) -> dict:
    """Measure one point in a fresh process."""
    point = {"config": config, "size": size, "variant": variant, "batch": args.batch, "steps": args.steps}
    point |= {"device": args.device, "precision": args.precision, "workers": args.workers, "threads": args.threads}
    command = [sys.executable, __file__, "--point", json.dumps(point)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        return {**point, **json.loads(done.stdout.splitlines()[-1])}
    except (IndexError, ValueError):
        return {**point, "error": f"ended with code {done.returncode}"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.point:
        from tools.benchmarks.training import measure

        print(json.dumps(measure(**json.loads(args.point))))
        return 0
    if min(args.batch, args.steps, *args.sizes) < 1 or any(size % 64 for size in args.sizes):
        parser.error("--batch and --steps must be at least 1, --sizes multiples of 64")
    if missing := [name for name in args.configs if not (ROOT / "configs" / f"{name}.py").is_file()]:
        parser.error(f"no such config: {', '.join(missing)}")
    print(f"{HEADER}\n|{'---|' * 10}", flush=True)
    results = []
    for config in args.configs:
        for size in args.sizes:
            for variant in args.variants:
                results.append(measure_apart(args, config, size, variant))
                print(row(results[-1]), flush=True)
    if args.output:
        args.output.write_text(json.dumps(results, indent=1))
    return int(any("error" in result for result in results))


if __name__ == "__main__":
    sys.exit(main())
