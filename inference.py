"""Alpha mattes for a folder of images with trimaps, or for one image.

Exit codes: 0 all done, 1 some files failed, 2 wrong arguments or set-up, 130 interrupted.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from data.folders import Pair, find_masked, find_pairs
from data.products.backgrounds import Background
from engine.batch.folders import Job, checked, peak_memory, plan, prepare_output, run
from engine.batch.outputs import Outputs
from engine.batch.processes import Place, run_on_gpus
from engine.build import build_model, shipped_config
from engine.messages import log_to_terminal
from modeling.inference.memory import bound_caches, use_huge_pages
from modeling.inference.predictor import Predictor, choose_device

logger = logging.getLogger("inference")

SHIPPED = Path(__file__).resolve().parent / "weights" / "MEMatte_T.safetensors"

EXAMPLES = """
A data folder is recognised by what it contains: merged/ + trimaps/ (Composition-1k), original/ + trimap/ (AIM-500), or
image|images/ + trimap|trimaps/. Image and trimap belong together when their names agree up to the suffix (jpg, jpeg,
png, webp, bmp, tif, tiff); sub-folders are mirrored. Alphas are written as OUTPUT/NAME.png. With --mask, trimaps are
made from masks, alphas or RGBA cut-outs on the way (tools/make_trimap.py shows them and sets the width of the band).

examples:
  python inference.py --data samples --output-dir output/samples
  python inference.py --config configs/MEMatte_S_topk0.25_win_global_long.py --checkpoint checkpoints/MEMatte_S.pth \\
      --data Datasets/AIM-500 --output-dir predAlpha/AIM-500
  python inference.py --config configs/ViTMatte_S_100ep.py --checkpoint checkpoints/ViTMatte_S.safetensors \\
      --image photo.jpg --trimap photo_trimap.png --output photo_alpha.png --bit-depth 16

A config is Python code, and is run: use only config files that you trust. Checkpoints are read without running code;
with a .safetensors file from a stranger, leave --config-dir out: its metadata can only name a file in configs/.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line; the first name of an option is the published one."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    model = parser.add_argument_group("model")
    model.add_argument("--config-dir", "--config", dest="config", type=Path, metavar="FILE",
                       help="LazyConfig file (Python code that is run), see configs/ (default: the file there that the "
                            "metadata of a .safetensors checkpoint name)")  # fmt: skip
    model.add_argument("--checkpoint-dir", "--checkpoint", dest="checkpoint", type=Path, metavar="FILE",
                       help="weights for it: .pth or .safetensors (default: the shipped MEMatte-T, see "
                            "weights/)")  # fmt: skip
    model.add_argument("--max-number-token", "--max-tokens", dest="max_tokens", type=int, default=18_500, metavar="N",
                       help="most tokens (16 x 16 pixels each) of an image that a routed block sends to global "
                            "attention; lower is faster (default: %(default)s)")  # fmt: skip
    model.add_argument("--sample-strategy", metavar="NAME",
                       help="DiffMatte: sampler and number of steps, for example ddim10, ddim1, ddpm20 (default: the "
                            "config's, ddim10)")  # fmt: skip
    model.add_argument("--max-memory", metavar="SIZE",
                       help="what the process may use, 4GB for example (resident; on CUDA: allocated), or auto for all "
                            "that is free; works in smaller pieces, then lowers the token cap (default: no "
                            "bound)")  # fmt: skip
    model.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    model.add_argument("--dtype", default="auto", choices=["auto", "fp32", "bf16", "fp16"],
                       help="precision; auto is fp32, fp16 needs a GPU (default: %(default)s)")  # fmt: skip
    model.add_argument("--tta", action="store_true",
                       help="test-time augmentation: eight passes, over four rotations and their mirror images, and "
                            "their mean; eight times slower, often a little more accurate")  # fmt: skip
    model.add_argument("overrides", nargs="*", metavar="key=value",
                       help="settings of the config to change, for example model.backbone.window_size=14")  # fmt: skip

    folder = parser.add_argument_group("a folder")
    folder.add_argument("--data-dir", "--data", dest="data", type=Path, metavar="DIR", help="data folder, see below")
    folder.add_argument("--num-gpus", type=int, metavar="N",
                        help="share the folder among N GPUs, one process each (torchrun does the same)")  # fmt: skip
    folder.add_argument("--inference-dir", "--output-dir", dest="output_dir", type=Path, metavar="DIR",
                        help="where the alphas go; created if need be")  # fmt: skip

    single = parser.add_argument_group("or one image")
    single.add_argument("--image", type=Path, metavar="FILE", help="photograph")
    single.add_argument("--trimap", type=Path, metavar="FILE", help="its trimap: 0 background, 128 unknown, 255 object")
    masks = parser.add_argument_group("instead of trimaps")
    masks.add_argument("--mask", type=Path, metavar="FILE|DIR",
                       help="make the trimaps from this mask, or from a folder of masks named like the images; the "
                            "data folder may then be a plain folder of images")  # fmt: skip
    single.add_argument("--output", type=Path, metavar="FILE", help="the alpha, a PNG file")

    output = parser.add_argument_group("output")
    output.add_argument("--output-kind", type=lambda text: text.split(","), default=["alpha"], metavar="KIND,...",
                        help="one or more of alpha, rgba (cut-out), foreground (its colours), composite, preview; of "
                             "several, all but the alpha are written as NAME_KIND (default: alpha)")  # fmt: skip
    output.add_argument("--background", metavar="COLOUR|FILE|DIR",
                        help="what composites are made over: a name or #rrggbb, a picture, or a folder of "
                             "them")  # fmt: skip
    output.add_argument("--format", dest="suffix", choices=["png", "tiff", "exr"], default="png",
                        help="of cut-outs, foregrounds and composites; exr is linear light (default: "
                             "%(default)s)")  # fmt: skip
    output.add_argument("--depth", choices=["8", "16", "half", "float"],
                        help="of these files: 8 or 16 bits for png and tiff, half or float for exr (default: the "
                             "smaller)")  # fmt: skip
    output.add_argument(
        "--premultiplied",
        action="store_true",
        help="multiply the colours of cut-outs by alpha (default: straight colours)",
    )
    output.add_argument("--bit-depth", type=int, default=8, choices=[8, 16],
                        help="bits a pixel of the PNG alphas (default: %(default)s)")  # fmt: skip
    again = output.add_mutually_exclusive_group()
    again.add_argument("--resume", dest="overwrite", action="store_false", default=None,
                       help="skip outputs that are finished: whole files of the right size and bit depth (default for "
                            "a folder)")  # fmt: skip
    again.add_argument("--overwrite", dest="overwrite", action="store_true", default=None,
                       help="make finished outputs again (default for one image)")  # fmt: skip
    return parser


def choose_weights(args: argparse.Namespace) -> tuple[Path, Path]:
    """Config and checkpoint; without either, those of the model that is shipped."""
    if args.checkpoint is None and args.config is not None:
        raise ValueError("--config-dir needs --checkpoint-dir; leave out both for the shipped model")
    if args.checkpoint is None and not SHIPPED.is_file():
        raise ValueError(f"no --checkpoint-dir is given, and the shipped model {SHIPPED} is not there")
    checkpoint = args.checkpoint or SHIPPED
    if args.checkpoint is None:
        logger.info("no --checkpoint-dir: using the shipped model %s/%s", SHIPPED.parent.name, SHIPPED.name)
    return args.config or shipped_config(checkpoint), checkpoint


def plan_outputs(args: argparse.Namespace, device: str) -> Outputs:
    """Which files are to be made; raises ValueError where the options do not fit each other."""
    background = Background.parse(args.background) if args.background else None
    return Outputs(
        args.output_kind, f".{args.suffix}", args.depth, args.bit_depth, args.premultiplied, background,
        choose_device(device),
    )  # fmt: skip


def plan_jobs(args: argparse.Namespace, outputs: Outputs) -> list[Job]:
    """What is to be done, from the command line; raises ValueError where that is not clear."""
    folder, single = (args.data, args.output_dir), (args.image, args.trimap or args.mask, args.output)
    if args.trimap and args.mask:
        raise ValueError("give --trimap or --mask, not both")
    if all(folder) and not any((args.image, args.trimap, args.output)):
        jobs = plan(find_masked(args.data, args.mask) if args.mask else find_pairs(args.data), args.output_dir, outputs)
        prepare_output(args.output_dir)
        return jobs
    if all(single) and not any(folder):
        expected = outputs.path(args.output, outputs.kinds[0]).suffix
        if args.output.suffix.lower() != expected:
            kind = f"{outputs.kinds[0]}s are written as {expected[1:].upper()}"
            raise ValueError(f"--output {args.output}: {kind}; give a name that ends in {expected}")
        pair = Pair(args.image.stem, args.image, args.trimap, mask=args.mask)
        jobs = checked([Job(pair, args.output)], outputs)
        prepare_output(args.output.parent)
        return jobs
    raise ValueError("give either --data-dir and --inference-dir, or --image, --trimap (or --mask) and --output")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = build_parser().parse_intermixed_args(argv)
    log_to_terminal()
    use_huge_pages()
    bound_caches()
    sampling = [f"model.sample_strategy={args.sample_strategy}"] if args.sample_strategy else []
    for name in ("modeling", logger.name):
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        place = Place.from_environment()
        if args.num_gpus is not None and place.world == 1:
            return run_on_gpus(args.num_gpus, sys.argv if argv is None else [__file__, *argv])
        outputs = plan_outputs(args, place.device(args.device))
        jobs = place.share(plan_jobs(args, outputs))
        config, checkpoint = choose_weights(args)
        predictor = Predictor(
            build_model(config, [*args.overrides, *sampling]),
            checkpoint,
            device=place.device(args.device),
            dtype=args.dtype,
            max_tokens=args.max_tokens,
            max_memory=args.max_memory,
            tta=args.tta,
        )
    except (ValueError, OSError, MemoryError) as error:
        logging.error("%s", error or type(error).__name__)
        return 2
    overwrite = args.image is not None if args.overwrite is None else args.overwrite
    try:
        with logging_redirect_tqdm(), tqdm(total=len(jobs), unit="image", disable=None) as bar:
            report = run(predictor, jobs, outputs=outputs, overwrite=overwrite, advance=bar.update)
    except KeyboardInterrupt:
        logging.error("interrupted; finished files are complete, the same command goes on from here")
        return 130
    print(f"{report.summary()}, peak memory {peak_memory(predictor.device)}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
