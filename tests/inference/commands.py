"""Small datasets, checkpoints and command lines for the tests of inference.py."""

from pathlib import Path

import cv2
import numpy as np
import torch

import inference
from engine.build import build_model
from tools.reference.weights import fill_

REPOSITORY = Path(inference.__file__).parent


CONFIG = str(REPOSITORY / "configs" / "MEMatte_S_topk0.25_win_global_long.py")


TINY = (
    "model.backbone.embed_dim=48 model.backbone.depth=3 model.backbone.global_blocks=[2] model.decoder.feature_chans=48"
).split()


LAYOUTS = {
    "Composition-1k": ("merged", "trimaps", "alpha_copy"),
    "AIM-500": ("original", "trimap", "mask"),
    "photos": ("image", "trimap", "alpha"),
}


def save_checkpoint(path, overrides):
    torch.save({"model": fill_(build_model(CONFIG, overrides).state_dict())}, path)
    return path


def scene(size):
    """RGB image, trimap and alpha of a soft disc."""
    rows, cols = np.mgrid[: size[0], : size[1]]
    distance = np.hypot(rows - size[0] / 2, cols - size[1] / 2) / max(size)
    alpha = np.clip((0.35 - distance) * 8, 0, 1)
    trimap = np.where(distance < 0.15, 255, np.where(distance > 0.4, 0, 128)).astype(np.uint8)
    colour = np.dstack([alpha * 200 + 20, rows % 256, cols % 256]).astype(np.uint8)
    return colour, trimap, np.rint(alpha * 255).astype(np.uint8)


def write_dataset(root, folders, sizes=((40, 50), (33, 31)), suffix=".jpg"):
    for index, size in enumerate(sizes):
        image, trimap, alpha = scene(size)
        for folder, pixels in zip(folders, (image[..., ::-1], trimap, alpha), strict=True):
            (root / folder).mkdir(parents=True, exist_ok=True)
            name = f"{index}{suffix if folder == folders[0] else '.png'}"
            cv2.imwrite(str(root / folder / name), pixels)


def command(checkpoint, *more):
    return ["--config", CONFIG, "--checkpoint", str(checkpoint), "--device", "cpu", *map(str, more), *TINY]


def folder_command(checkpoint, dataset, *more):
    return command(checkpoint, "--data", dataset, "--output-dir", dataset.parent / "out", *more)


def last_error(capsys, caplog):
    """The one line that the user gets."""
    assert not capsys.readouterr().out
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "\n" not in message
    return message
