"""Page in the browser: mark an object in a photograph, matte, download.

It runs on this machine alone.

Needs requirements-app.txt (make app installs it). Nothing is sent anywhere; uploads are removed with the program.

Exit codes: 0 ended, 2 wrong arguments or set-up, 130 interrupted.
"""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tools  # noqa: F401  (puts the repository on the path)
from engine.messages import log_to_terminal
from tools import arguments, cli

if TYPE_CHECKING:
    from modeling.inference.predictor import Predictor
    from tools.page.layout import Models

logger = logging.getLogger("app")
OFFLINE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = arguments.make_parser(__doc__)
    parser.add_argument("--port", type=int, help="of the page (default: the first free one from 7860)")
    arguments.add_compute(arguments.add_model(parser))
    return parser.parse_intermixed_args(argv)


def models(args: argparse.Namespace) -> "Models":
    """The model of the command line and those that are shipped."""
    from tools.page.layout import Models

    files = {path.stem: path for path in sorted((arguments.ROOT / "weights").glob("*.safetensors"))}
    if args.checkpoint is not None:
        files = {args.checkpoint.stem: args.checkpoint} | files

    def make(name: str, max_tokens: int, working_size: str) -> "Predictor":
        own = files[name] == args.checkpoint
        chosen = argparse.Namespace(
            **vars(args)
            | {"checkpoint": files[name], "config": args.config if own else None}
            | {"max_tokens": max_tokens, "working_size": working_size}
        )
        return cli.make_predictor(chosen, cli.choose_weights(chosen))

    return Models(list(files), make)


def samples() -> dict[str, Path]:
    """Photographs of the repository by name."""
    folders = (arguments.ROOT / "samples" / "photographs" / "image", arguments.ROOT / "samples" / "original")
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.jpg"))}


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = parse(argv)
    log_to_terminal(logging.INFO)
    os.environ.update(OFFLINE)
    with tempfile.TemporaryDirectory(prefix="mematte-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            from tools.page.layout import build, launch
        except ImportError as error:
            logger.error("%s: the page needs pip install -r requirements-app.txt, or start it with make app", error)
            return 2
        try:
            page = build(models(args), samples(), Path(folder))
            logger.info("the page is at http://127.0.0.1:%s; Ctrl-C ends it", args.port or "7860 (or the next free)")
            launch(page, args.port, Path(folder))
        except (ValueError, OSError) as error:
            logger.error("%s", error)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
