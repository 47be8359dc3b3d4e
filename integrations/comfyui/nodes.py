"""ComfyUI node: IMAGE and MASK in, MASK and RGBA IMAGE out."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import mematte
import torch
from torch import Tensor

_BACKGROUND_UP_TO, _FOREGROUND_FROM = 25 / 255, 230 / 255  # values of a trimap, which may have been resized


class MatteNode:
    """Alpha of images from a foreground mask or a trimap.

    ComfyUI's IMAGE is (B, H, W, C) float in [0, 1], its MASK (B, H, W) float in [0, 1].
    """

    CATEGORY = "mask"
    FUNCTION = "matte"
    RETURN_TYPES = ("MASK", "IMAGE")
    RETURN_NAMES = ("alpha", "cutout")
    DESCRIPTION = (
        "Refines a mask, or a trimap (black, grey, white), to an alpha matte; the cut-out has its own colours."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple]]:
        """Sockets and widgets."""
        return {
            "required": {
                "image": ("IMAGE",),
                "mask": ("MASK",),
                "mask_is": (
                    ["mask", "trimap"],
                    {"tooltip": "trimap: black background, grey unknown, white foreground"},
                ),
                "model": (list(mematte.MODELS), {"default": "MEMatte_T"}),
                "weights": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "file, folder or owner/name of the hub; empty for the included MEMatte_T",
                    },
                ),
                "max_tokens": ("INT", {"default": 18500, "min": 0, "max": 10**6, "tooltip": "lower is faster"}),
                "max_memory": ("STRING", {"default": "", "tooltip": "for example 4GB, or auto; empty: no bound"}),
                "device": (["auto", "cpu", "cuda", "mps"],),
            }
        }

    def matte(
        self,
        image: Tensor,
        mask: Tensor,
        mask_is: str,
        model: str,
        weights: str,
        max_tokens: int,
        max_memory: str,
        device: str,
    ) -> tuple[Tensor, Tensor]:
        """Alpha (B, H, W) and cut-out (B, H, W, 4), straight colours, on the CPU."""
        count, height, width = image.shape[:3]
        if mask.dim() == 2:
            mask = mask[None]
        if mask.shape[1:] != (height, width) or len(mask) not in (1, count):
            raise ValueError(
                f"the mask is {tuple(mask.shape)}, but the image is {tuple(image.shape)}: give one mask of the image's "
                "size, or one per image (an image without alpha has an empty mask of 64 x 64)"
            )
        predictor = _predictor(model, weights.strip(), max_tokens, max_memory.strip(), device)
        masks = mask.expand(count, height, width).clamp(0, 1)
        images = image[..., :3].permute(0, 3, 1, 2).clamp(0, 1)  # (B, 3, H, W)
        guide = {"trimap": _snapped(masks)} if mask_is == "trimap" else {"mask": masks}
        alpha = predictor.predict(images, **guide, progress=_progress())[:, 0].float().cpu()  # (B, H, W)
        colours = [
            mematte.estimate_foreground(part.float().cpu().contiguous(), own)
            for part, own in zip(image[..., :3].clamp(0, 1), alpha, strict=True)
        ]
        return alpha, torch.cat([torch.stack(colours), alpha[..., None]], dim=-1)


@lru_cache(maxsize=1)
def _predictor(model: str, weights: str, max_tokens: int, max_memory: str, device: str) -> "mematte.Predictor":
    return mematte.load(model, weights or None, device=device, max_tokens=max_tokens, max_memory=max_memory or None)


def _snapped(trimap: Tensor) -> Tensor:
    """Values to 0, 0.5 and 1."""
    return torch.where(trimap <= _BACKGROUND_UP_TO, 0.0, torch.where(trimap >= _FOREGROUND_FROM, 1.0, 0.5))


def _progress() -> Callable[[float], Any] | None:
    """ComfyUI's progress bar and cancel button, if it runs inside ComfyUI."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted
        from comfy.utils import ProgressBar
    except ImportError:
        return None
    bar = ProgressBar(100)

    def told(share: float) -> None:
        throw_exception_if_processing_interrupted()
        bar.update_absolute(round(100 * share))

    return told
