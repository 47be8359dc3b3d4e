"""Export a checkpoint as a small .safetensors file or a hub folder.

Only the network stays: no teacher, no optimiser. Config, step, metrics, data and commit go into the file's metadata; a
folder (--folder) also has a config.json and a model card. Exit codes: 0 written, 2 wrong arguments or an unusable
checkpoint.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tools  # noqa: F401  (puts the repository on the path)
from engine.messages import log_to_terminal
from tools.arguments import ROOT, make_parser
from tools.cli import command, say

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DTYPES = {"fp16": "float16", "fp32": "float32"}  # names in torch, which is imported after the arguments are parsed

CARD = """---
library_name: {library}
pipeline_tag: image-segmentation
tags: [image-matting, {network}]
---

# {title}

Natural-image matting: alpha from an image and its trimap.

```python
{example}
```

| | |
|---|---|
| model | {name} |
| weights | {tensors} tensors, {megabytes:.1f} MB, {dtype} |
| config, step | {config}, {step} |
| validation scores | {metrics} |
| commit | {commit} |

To be completed by whoever publishes this: licence of the weights, training data and their licences, limits.
"""
OURS_EXAMPLE = """import mematte

predictor = mematte.load("FOLDER_OR_REPOSITORY")
alpha = predictor.predict(image, trimap)  # uint8 (H, W, 3) RGB, uint8 (H, W) of 0, 128, 255 -> float32 (H, W)"""
THEIR_EXAMPLE = """from transformers import VitMatteForImageMatting, VitMatteImageProcessor

model = VitMatteForImageMatting.from_pretrained("FOLDER_OR_REPOSITORY").eval()
processor = VitMatteImageProcessor.from_pretrained("FOLDER_OR_REPOSITORY")
inputs = processor(images=image, trimaps=trimap, return_tensors="pt")
alpha = model(**inputs).alphas[0, 0, : image.height, : image.width]"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("checkpoint", type=Path, help="model_*.pth of a run; with --folder also other weights")
    parser.add_argument("output", type=Path, help="the .safetensors file to write, or with --folder a new folder")
    parser.add_argument(
        "--dtype",
        choices=sorted(DTYPES),
        default="fp32",
        help="of the stored weights; fp16 halves the file (default: %(default)s)",
    )
    parser.add_argument(
        "--last-step",
        action="store_true",
        help="export the weights of the last step, where the run kept their moving average too (train.ema_decay)",
    )
    parser.add_argument(
        "--folder", action="store_true", help="write a folder of model.safetensors, config.json and README.md"
    )
    parser.add_argument(
        "--layout",
        choices=["mematte", "transformers"],
        default="mematte",
        help="of the folder; transformers: ViTMatte for VitMatteForImageMatting (default: %(default)s)",
    )
    return parser


def student(state: "dict[str, Tensor]", dtype: "torch.dtype") -> "dict[str, Tensor]":
    """The network's own tensors, matrices and kernels as `dtype`.

    Vectors stay as they are: they take next to no room, and variances of batch norms exceed what fp16 can hold.

    Raises:
        CheckpointError: a weight exceeds it too.
    """
    from modeling.checkpoints.weights import TEACHER, CheckpointError

    own = {name: value for name, value in state.items() if not name.startswith(TEACHER)}
    stored = {name: (value.to(dtype) if value.ndim > 1 else value).contiguous() for name, value in own.items()}
    for name, value in stored.items():
        if own[name].isfinite().all() and not value.isfinite().all():
            raise CheckpointError(f"{name} holds numbers too large for fp16; leave --dtype fp16 out")
    return stored


def metadata(path: Path, dtype: str) -> dict[str, str]:
    """Description of a checkpoint, each part as JSON; safetensors keeps strings only."""
    from modeling.checkpoints.files import read_metadata, read_pickle

    if path.suffix.lower() == ".safetensors":
        return {**read_metadata(path), "dtype": dtype}
    whole = read_pickle(path)
    known = {"dtype": dtype, "step": whole["iteration"] + 1 if "iteration" in whole else None}
    known |= {name: whole.get("description", {}).get(name) for name in ("config", "metrics", "data", "commit")}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in known.items()}


def config_today(config: str, tensors: "dict[str, Tensor]") -> str:
    """Config of a run; of its network where it has been renamed."""
    from modeling.zoo import MODELS, identify

    name = identify(tensors)
    return config if name is None or (ROOT / "configs" / f"{config}.py").is_file() else MODELS[name].configs[0]


def folder_files(tensors: "dict[str, Tensor]", known: dict[str, str], layout: str) -> dict[str, bytes]:
    """Content of the files of a folder, by name.

    Raises:
        CheckpointError: the sizes are in no row of the table, or the layout has no such model.
    """
    from safetensors.torch import save

    import modeling
    from modeling.checkpoints import hub, huggingface_vitmatte
    from modeling.checkpoints.files import CheckpointError
    from modeling.zoo import identify

    name = identify(tensors)
    if name is None:
        raise CheckpointError("the sizes of this network are in no row of the table of models; export it to a file")
    configs: dict[str, dict[str, Any]]
    if layout == "transformers":
        if name not in huggingface_vitmatte.SUPPORTED:
            raise CheckpointError(f"{name}: transformers has only {' and '.join(huggingface_vitmatte.SUPPORTED)}")
        tensors = {huggingface_vitmatte.their_name(key): value for key, value in tensors.items()}
        configs = {hub.CONFIG: huggingface_vitmatte.model_config(name)}
        configs["preprocessor_config.json"] = huggingface_vitmatte.processor_config()
    else:
        configs = {hub.CONFIG: {"library_name": "mematte", "library_version": modeling.__version__, "model": name}}
    weights = save(tensors, {"format": "pt"} | known)
    card = CARD.format(
        library=layout,
        network=name.partition("_")[0].lower(),
        title=name.replace("_", "-", 1),
        example=OURS_EXAMPLE if layout == "mematte" else THEIR_EXAMPLE,
        name=name,
        tensors=len(tensors),
        megabytes=len(weights) / 1e6,
        metrics=_scores(known),
        **{key: known.get(key, "unknown") for key in ("dtype", "config", "step", "commit")},
    )
    files = {hub.WEIGHTS: weights, hub.CARD: card.encode()}
    return files | {key: f"{json.dumps(value, indent=2)}\n".encode() for key, value in configs.items()}


def _scores(known: dict[str, str]) -> str:
    """Validation scores of a run as a phrase."""
    try:
        scores = json.loads(known.get("metrics", ""))
        return ", ".join(f"{name} {value:.4g}" for name, value in scores.items()) or "unknown"
    except (ValueError, TypeError, AttributeError):  # not written by a run of this project
        return "unknown"


def check(args: argparse.Namespace) -> None:
    """Refuse arguments that do not go together."""
    if args.folder:
        if args.output.exists() and (not args.output.is_dir() or any(args.output.iterdir())):
            raise ValueError(f"{args.output}: is there already; name a new folder")
        return
    if args.layout != "mematte":
        raise ValueError("--layout is for folders: add --folder")
    if args.output.suffix.lower() != ".safetensors":
        raise ValueError(f"{args.output}: give a name that ends in .safetensors, or add --folder")
    if args.checkpoint.suffix.lower() == ".safetensors":
        raise ValueError(f"{args.checkpoint}: is no training checkpoint; give a model_*.pth of a run")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = build_parser().parse_args(argv)
    log_to_terminal()
    import torch
    from safetensors.torch import save

    from data.files import check_outputs, write_atomic
    from modeling.checkpoints.weights import read_state_dict, weights_file

    try:
        check(args)
        path = weights_file(args.checkpoint)
        check_outputs([args.output], [path])
        tensors = student(read_state_dict(path, not args.last_step), getattr(torch, DTYPES[args.dtype]))
        known = metadata(path, args.dtype)
        known["config"] = config_today(known.get("config", ""), tensors)
        if args.folder:
            files = folder_files(tensors, known, args.layout)
            args.output.mkdir(parents=True, exist_ok=True)
        else:
            files = {args.output.name: save(tensors, known)}
        for name, content in files.items():
            write_atomic((args.output if args.folder else args.output.parent) / name, content)
    except (ValueError, OSError) as error:
        logging.error("%s", error)
        return 2
    say(f"{args.output}: {len(tensors)} tensors, {sum(map(len, files.values())) / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
