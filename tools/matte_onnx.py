"""Alpha matte of one image from an exported ONNX network, without torch.

Takes NAME_backbone.onnx (its NAME_decoder.onnx lies beside it; tiles keep the memory bounded) or the joint NAME.onnx.
Networks with a closed-form prior compute it by NAME_prior.onnx, likewise beside it.
Exit codes: 0 written, 2 wrong arguments or unusable files.
"""

import argparse
import logging
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import tools  # noqa: F401  (puts the repository on the path)
from engine.messages import log_to_terminal
from tools import arguments, cli


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = arguments.make_parser(__doc__)
    parser.add_argument("model", type=Path, help="NAME_backbone.onnx or NAME.onnx, written by tools/export_onnx.py")
    parser.add_argument("image", type=Path, help="photograph")
    parser.add_argument("trimap", type=Path, help="0 background, 128 unknown, 255 foreground")
    parser.add_argument("output", type=Path, help="alpha, an 8-bit PNG file")
    parser.add_argument(
        "--max-tokens",
        type=int,
        default=18_500,
        metavar="N",
        help="most tokens per image that a routed block sends to global attention (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of onnxruntime (default: all cores)")
    return parser


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = build_parser().parse_args(argv)
    log_to_terminal()
    from data.files import check_outputs, read_image, read_trimap, write_alpha

    try:
        from tools.onnx_graphs.runner import OnnxMatte
    except ModuleNotFoundError as error:
        logging.error("%s is missing: python -m pip install -r requirements-onnx.txt", error.name)
        return 2
    name = args.model.stem.removesuffix("_backbone")
    decoder = args.model.with_name(f"{name}_decoder.onnx") if name != args.model.stem else None
    prior = args.model.with_name(f"{name}_prior.onnx")  # opened for networks that take one only
    try:
        check_outputs([args.output], [args.model, args.image, args.trimap])
        network = OnnxMatte(args.model, decoder, args.threads, prior)
        image, trimap = read_image(args.image), read_trimap(args.trimap)
        start = time.monotonic()
        alpha = network.predict(image, trimap, args.max_tokens)
        seconds = time.monotonic() - start
        write_alpha(args.output, alpha)
    except (ValueError, OSError) as error:
        logging.error("%s", error)
        return 2
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cli.say(f"{args.output}: {seconds:.1f} s, peak memory {peak:.2f} GiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
