"""Reproduce a published score: inference, scores, measured beside published figures.

  python tools/reproduce.py composition-1k --checkpoint checkpoints/MEMatte_S.pth --data Datasets/Composition-1k-testset

The set is one that tools/prepare_composition1k.py made, or any folder of images, trimaps and alphas that inference.py
takes. Finished mattes are not computed again.
Exit codes: 0 all scores within the tolerance, 1 not, or some images failed, 2 wrong arguments.
"""

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import tools  # noqa: F401  (puts the repository on the path)

METRICS = ("sad", "mse", "grad", "conn")
COMPOSITION_1K = {  # by config; as the authors report them
    "MEMatte_S_topk0.25_win_global_long": (21.90, 3.37, 7.43, 16.77),
    "MEMatte_B_topk0.25_win_global_long": (21.06, 3.11, 6.70, 15.71),
    "ViTMatte_S_100ep": (21.46, 3.3, 7.24, 16.21),
    "ViTMatte_B_100ep": (20.33, 3.0, 6.74, 14.78),
    "DiffMatte_Res34": (29.20, 6.04, 11.37, 25.48),
    "DiffMatte_SwinT": (20.87, 3.23, 6.37, 15.84),
    "DiffMatte_ViTS": (20.52, 3.06, 7.05, 14.85),
    "DiffMatte_ViTB": (18.63, 2.54, 5.82, 13.10),
    "DiffMatte_ViTS_1024": (17.15, 2.26, 5.13, 11.42),
    "AEMatter": (17.53, 2.26, 4.76, 12.46),
    "CheapMatting": (26.37, 5.03, 11.05, 22.05),
}

logger = logging.getLogger("reproduce")


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("table", choices=["composition-1k"], help="the published table")
    add("--checkpoint", type=Path, required=True, metavar="FILE", help="published weights, or own ones")
    add("--config", type=Path, metavar="FILE", help="their config (default: the one that the weights belong to)")
    add(
        "--data",
        type=Path,
        default=Path("Datasets/Composition-1k-testset"),
        metavar="DIR",
        help="images, trimaps and alphas (default: %(default)s)",
    )
    add(
        "--output",
        type=Path,
        default=Path("output/reproduce"),
        metavar="DIR",
        help="folder for the mattes and scores.json (default: %(default)s)",
    )
    add(
        "--tolerance",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="largest relative difference from the published figures (default: %(default)s)",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    return parser


def compare(measured: Mapping[str, float], published: Sequence[float], tolerance: float) -> tuple[str, bool]:
    """Table of measured and published scores; True within the tolerance."""
    lines = ["| metric | measured | published | difference |", "|---|---|---|---|"]
    within = True
    for metric, expected in zip(METRICS, published, strict=True):
        difference = measured[metric] / expected - 1
        fits = abs(difference) <= tolerance
        within &= fits
        mark = "" if fits else f" (more than {tolerance:.1%})"
        lines.append(f"| {metric.upper()} | {measured[metric]:.2f} | {expected:.2f} | {difference:+.1%}{mark} |")
    return "\n".join(lines), within


def measure(args: argparse.Namespace, config: Path) -> tuple[dict[str, float], int]:
    """Matte and score; returns mean scores and the worse exit code."""
    import evaluation
    import inference
    from data.folders import find_pairs

    pairs = [pair for pair in find_pairs(args.data) if pair.alpha and pair.trimap]
    if not pairs:
        raise ValueError(f"{args.data}: holds no image with both trimap and alpha")
    mattes, scores = args.output / config.stem, args.output / f"{config.stem}.json"
    model = ["--config", str(config), "--checkpoint", str(args.checkpoint), "--device", args.device]
    code = inference.main([*model, "--data-dir", str(args.data), "--inference-dir", str(mattes), "--resume"])
    if code <= 1:
        folders = ["--label-dir", str(pairs[0].alpha.parent), "--trimap-dir", str(pairs[0].trimap.parent)]
        code = max(code, evaluation.main(["--pred-dir", str(mattes), *folders, "--json", str(scores)]))
    if code > 1:
        raise ValueError("the mattes were not computed or not scored, see above")
    return json.loads(scores.read_text())["mean"], code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = build_parser().parse_args(argv)
    from engine.build import shipped_config
    from engine.messages import log_to_terminal

    log_to_terminal()
    try:
        config = args.config or shipped_config(args.checkpoint)
        if config.stem not in COMPOSITION_1K:
            raise ValueError(f"{config.stem}: nothing is published; known are {', '.join(COMPOSITION_1K)}")
        measured, code = measure(args, config)
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 2
    table, within = compare(measured, COMPOSITION_1K[config.stem], args.tolerance)
    print(table)
    return code if within else 1


if __name__ == "__main__":
    sys.exit(main())
