"""Export MEMatte or ViTMatte to ONNX, checked against torch before writing.

MEMatte takes any size and, as a second input, the maximum number of tokens; ViTMatte serves one size per file.
Writes NAME_backbone.onnx (image, max_tokens -> features, keep), NAME_decoder.onnx (features, image -> alpha) and the
joint NAME.onnx (image, max_tokens -> alpha, keep). image is (1, 4, H, W): normalised RGB and the trimap / 255, both
sides padded to multiples of 32.

Exit codes: 0 written, 1 the graphs differ from torch, 2 wrong arguments or unusable weights.

example:
  python tools/export_onnx.py --checkpoint weights/MEMatte_T.safetensors --output-dir output/onnx
  python tools/matte_onnx.py output/onnx/MEMatte_T_backbone.onnx photo.jpg trimap.png alpha.png
"""

import argparse
import hashlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import tools  # noqa: F401  (puts the repository on the path)
from engine.messages import log_to_terminal
from tools import arguments, cli

GRAPHS = ("joint", "split")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="weights, .pth or .safetensors (default: the shipped MEMatte-T)"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="network, such as MEMatte_S (default: found from the names of the tensors)"
    )
    parser.add_argument("--output-dir", type=Path, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument("--name", help="stem of the files (default: the name of the checkpoint)")
    parser.add_argument(
        "--graphs",
        type=arguments.comma_separated,
        default=list(GRAPHS),
        metavar="joint,split",
        help="which files: joint, split (backbone and decoder) or both (default: both)",
    )
    parser.add_argument(
        "--size", type=arguments.size, metavar="WIDTHxHEIGHT", help="ViTMatte: padded size of its images"
    )
    parser.add_argument(
        "--weights",
        choices=["fp32", "fp16"],
        default="fp32",
        help="precision of stored matrices; computation stays in fp32 (default: %(default)s)",
    )
    parser.add_argument(
        "--external-weights", action="store_true", help="store the weights beside each file, as NAME.onnx.data"
    )
    return parser


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = build_parser().parse_args(argv)
    log_to_terminal()
    if unknown := [graph for graph in args.graphs if graph not in GRAPHS]:
        logging.error("--graphs: %s is unknown; give joint, split or both", unknown[0])
        return 2
    try:
        from tools.onnx_graphs.export import ExportError, GraphMismatch, export
    except ModuleNotFoundError as error:
        logging.error("%s is missing: python -m pip install -r requirements-onnx.txt", error.name)
        return 2
    checkpoint = args.checkpoint or arguments.SHIPPED
    size = args.size and args.size[::-1]  # height, width
    if not checkpoint.is_file():
        logging.error("%s: no such file", checkpoint)
        return 2
    try:
        metadata = {"source": checkpoint.name, "source_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}
        written, difference = export(
            checkpoint,
            args.model,
            args.output_dir,
            checkpoint.stem if args.name is None else args.name,
            graphs=args.graphs,
            size=size,
            half=args.weights == "fp16",
            external=args.external_weights,
            metadata=metadata,
        )
    except GraphMismatch as error:
        logging.error("%s; nothing was written", error)
        return 1
    except (ExportError, ValueError, OSError) as error:
        logging.error("%s", error)
        return 2
    for path, size_bytes in written.items():
        cli.say(f"{path}: {size_bytes / 2**20:.1f} MiB")
    cli.say(f"largest difference from torch: {difference:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
