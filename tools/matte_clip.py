"""Matte a clip: numbered pictures in a folder or a video file, with a trimap or a mask for every frame.

Frames that are finished are not made again, so an interrupted run is continued by the same command.

Exit codes: 0 all done, 1 a frame failed (finished frames stay), 2 wrong arguments or set-up, 130 interrupted.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tqdm import tqdm

from data.products.backgrounds import Background
from data.products.clips import VIDEO_KINDS
from engine.batch.clips import CLIP_KINDS, open_job, run_clip
from engine.batch.folders import peak_memory
from engine.batch.outputs import Outputs
from engine.build import build_model
from engine.messages import log_to_terminal
from modeling.inference.memory import use_huge_pages
from modeling.inference.predictor import Predictor, choose_device

logger = logging.getLogger("matte_clip")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="video file, or folder of pictures whose names end in a number")
    parser.add_argument(
        "output", type=Path, help=f"folder for the frames, or video: {', '.join(VIDEO_KINDS)} (ProRes 4444, FFV1, VP9)"
    )
    guide = parser.add_mutually_exclusive_group(required=True)
    guide.add_argument("--trimaps", type=Path, help="folder or video with the trimap of every frame")
    guide.add_argument("--masks", type=Path, help="folder or video with a mask of every frame")
    parser.add_argument("--config", type=Path, required=True, help="LazyConfig file (Python code that is run)")
    parser.add_argument("--checkpoint", type=Path, required=True, help="weights: .pth or .safetensors")
    parser.add_argument("--output-kind", choices=CLIP_KINDS, default="rgba", help="default: %(default)s")
    parser.add_argument("--background", help="of composites: a colour, or a picture")
    parser.add_argument("--format", choices=["png", "tiff", "exr"], default="png", help="of colour frames in a folder")
    parser.add_argument("--depth", choices=["8", "16", "half", "float"], help="of colour frames in a folder")
    parser.add_argument("--bit-depth", type=int, choices=[8, 16], default=8, help="of alpha frames in a folder")
    parser.add_argument("--rate", type=Fraction, default=Fraction(25), help="frames a second of a folder made a video")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--dtype", default="auto", choices=["auto", "fp32", "bf16", "fp16"], help="precision")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of the config to change")
    args = parser.parse_args(argv)
    if args.rate <= 0:
        parser.error("--rate must be above 0")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    log_to_terminal(logging.INFO)
    use_huge_pages()
    args, start = parse(argv), time.perf_counter()
    try:
        background = Background.parse(args.background) if args.background else None
        outputs = Outputs(
            [args.output_kind], f".{args.format}", args.depth, args.bit_depth, background=background,
            device=choose_device(args.device),
        )  # fmt: skip
        guide = args.trimaps or args.masks
        job = open_job(args.clip, guide, args.masks is not None, args.output, outputs, args.rate)
        model = build_model(args.config, args.overrides)
        predictor = Predictor(model, args.checkpoint, device=args.device, dtype=args.dtype)
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 2
    try:
        with tqdm(total=len(job.clip) or None, unit="frame", disable=None) as bar:
            made, total = run_clip(predictor, job, bar.update)
    except KeyboardInterrupt:
        logger.error("interrupted; finished frames are complete, the same command goes on from here")
        return 130
    except ValueError as error:
        logger.error("%s", error)
        return 1
    seconds = time.perf_counter() - start
    logger.info("%d frames, %d of them made now, %.1f s, peak %s", total, made, seconds, peak_memory(predictor.device))
    return 0


if __name__ == "__main__":
    sys.exit(main())
