"""From an image and a trimap in memory to an alpha matte."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..base import MattingOutput
from ..checkpoints.weights import load_weights
from .budget import Limits, fit, parse_memory
from .folding import fold_batch_norms_
from .memory import free, in_use
from .tta import predict_views
from .working_size import Plan, WorkingSize, enlarging_cost, matte_reduced, plan, resolve_working_size, spread

logger = logging.getLogger(__name__)

DType = Literal["auto", "fp32", "bf16", "fp16"]
OUT_OF_MEMORY_RETRIES = 3
_TTA_BYTES = 16  # per pixel: the sum over views, a view's image and trimap, its alpha turned back
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Matte:
    """Result of one prediction.

    Attributes:
        alpha: (H, W) float32 in [0, 1], exactly 0 and 1 in the known regions of the trimap.
        keep: per routed block the (h, w) bool map of the 16 px tokens that global attention saw; empty without routing.
            With test-time augmentation, those of the first view, which is neither turned nor mirrored.
        part: of the picture that the network saw, and at which size; None for the whole picture as it is.
    """

    alpha: np.ndarray
    keep: list[np.ndarray]
    part: Plan | None = None

    def keep_over_picture(self) -> list[np.ndarray]:
        """`keep` as maps of 16 px cells of the whole picture, also where the network saw a reduced part of it."""
        return [spread(maps, self.part, *self.alpha.shape) for maps in self.keep] if self.part else self.keep


class Predictor:
    """Runs a matting network on images of any size.

    The model is moved to the device and prepared for inference *in place*: evaluation mode, no gradients, batch norms
    folded into convolutions.

    Args:
        model: any network of this package.
        checkpoint: weights to load, strictly; None where the model already has its weights.
        device: "auto" (CUDA, then MPS, then CPU), "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" is fp32; "bf16" and "fp16" compute in half precision (routers stay in fp32); fp16 needs a GPU.
        max_tokens: most tokens that a routed block sends to global attention (None: no cap).
        max_memory: what the process may use, "4GB" for example: resident memory on a CPU, the allocator's on CUDA;
            "auto" is all that is free. Chunks and tiles shrink until it suffices, then the token cap. None: no bound.
        tta: test-time augmentation: the mean over four rotations and their mirror images, each predicted on its own,
            padding and known regions included. Eight times the time; little more memory.
        working_size: longer side in pixels to which the surroundings of the unknown region are reduced for the
            network; alpha returns to full size along the edges of the picture. "full": as large as the picture is.
            "auto": the size that the checkpoint states or this package knows for it, else full.
    """

    def __init__(
        self,
        model: nn.Module,
        checkpoint: str | Path | None = None,
        *,
        device: str = "auto",
        dtype: DType = "auto",
        max_tokens: int | None = Limits.max_tokens,
        max_memory: str | None = None,
        tta: bool = False,
        working_size: WorkingSize = "auto",
    ) -> None:
        if max_tokens is not None and max_tokens < 0:
            raise ValueError(f"max_tokens must be at least 0, got {max_tokens}")
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.limits = Limits(max_tokens=max_tokens)
        self.tta = tta
        self.working_size_px = resolve_working_size(working_size, checkpoint)
        self.max_memory = parse_memory(max_memory) if max_memory not in (None, "auto") else max_memory
        if checkpoint is not None:
            load_weights(model, checkpoint)
        model = fold_batch_norms_(model.eval().requires_grad_(False))
        self.model = model.to(self.device, memory_format=torch.channels_last)

    def predict(self, image: np.ndarray, trimap: np.ndarray, name: str = "") -> np.ndarray:
        """Alpha matte of one image.

        Args:
            image: (H, W, 3) uint8 RGB.
            trimap: (H, W) uint8 of 0 (background), 128 (unknown), 255 (foreground).
            name: of the image; networks that draw noise draw it by this name.

        Returns:
            (H, W) float32 in [0, 1].
        """
        return self.run(image, trimap, name).alpha

    @torch.inference_mode()
    def run(self, image: np.ndarray, trimap: np.ndarray, name: str = "") -> Matte:
        """As `predict`, with the routing decisions."""
        check_inputs(image, trimap)
        image_tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        trimap_tensor = torch.from_numpy(np.ascontiguousarray(trimap))[None, None]  # (1, 1, H, W)
        chosen = self._plan(trimap_tensor)
        limits = self.choose_limits(*trimap.shape, chosen)
        keep_foreground = getattr(self.model, "published_foreground", False)
        keep: list[list[Tensor]] = []

        def predict(image: Tensor, trimap: Tensor) -> Tensor:
            nonlocal limits  # what was too much for one view is not tried again on the next
            output, limits = self._retried(image, trimap, name, limits)
            keep.append(output.keep)
            return enforce_known(output.alpha, trimap, foreground=not keep_foreground)

        def compute(image: Tensor, trimap: Tensor) -> Tensor:
            inputs = image.to(self.device), trimap.to(self.device)
            return predict_views(predict, *inputs) if self.tta else predict(*inputs)

        inputs = image_tensor, trimap_tensor
        alpha = compute(*inputs) if chosen is None else matte_reduced(compute, *inputs, chosen)
        if not alpha.isfinite().all():
            raise ValueError(
                f"the network's result is not finite in {self.dtype}: compute in fp32, or take another checkpoint"
            )
        maps = [kept[0].cpu().numpy() for kept in keep[0]]
        return Matte(alpha[0, 0].cpu().numpy(), maps, chosen)

    def _plan(self, trimap: Tensor) -> Plan | None:
        """Part and size of the picture that the network is to see; None for the picture as it is."""
        chosen = None if self.working_size_px is None else plan(trimap, self.working_size_px)
        if chosen is not None:
            logger.info("%s (working size %d)", chosen, self.working_size_px)
        return chosen

    def choose_limits(self, height: int, width: int, chosen: Plan | None = None) -> Limits:
        """Bounds for an image of height x width pixels, from the memory budget.

        Args:
            chosen: part and size that the network sees, where that is not the whole image as it is.

        Raises:
            ValueError: the image does not fit into the budget.
        """
        if self.max_memory is None:
            return self.limits

        rows, cols = (height, width) if chosen is None else (chosen.height, chosen.width)
        enlarging = 0 if chosen is None else enlarging_cost(chosen, height, width)

        def cost(limits: Limits) -> int:
            if not self.tta:
                return max(self.model.memory_cost(rows, cols, limits), enlarging)
            turned = max(self.model.memory_cost(*size, limits) for size in ((rows, cols), (cols, rows)))
            return max(turned + _TTA_BYTES * rows * cols, enlarging)

        held = in_use(self.device)
        available = free(self.device) if self.max_memory == "auto" else self.max_memory - held
        limits = fit(self.limits, cost, available)
        expected = (held + cost(limits)) / 1e9
        logger.info("%d x %d pixels: %s; expecting a peak of %.2f GB", width, height, limits, expected)
        if limits.max_tokens != self.limits.max_tokens:
            logger.warning("the memory budget lowers the token cap to %d, which changes the result", limits.max_tokens)
        return limits

    def _retried(self, image: Tensor, trimap: Tensor, name: str, limits: Limits) -> tuple[MattingOutput, Limits]:
        """One view, in ever smaller pieces where memory runs out; with the limits that sufficed."""
        named = {"name": name} if getattr(self.model, "draws_noise", False) else {}
        for attempt in range(OUT_OF_MEMORY_RETRIES + 1):
            try:
                with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                    return self.model.matte(image, trimap, limits, **named), limits
            except torch.OutOfMemoryError as error:
                if attempt == OUT_OF_MEMORY_RETRIES:
                    raise MemoryError(
                        f"out of memory even with {limits}: use a smaller image or --max-tokens"
                    ) from error
            limits = limits.halved()
            logger.warning("out of memory; trying again with %s", limits)
        raise AssertionError("the last attempt returns or raises")


def enforce_known(alpha: Tensor, trimap: Tensor, foreground: bool = True) -> Tensor:
    """Set alpha (..., H, W) to exactly 0 and, unless `foreground` is False, 1 where the trimap says so, in place."""
    alpha.masked_fill_(trimap == 0, 0)
    return alpha.masked_fill_(trimap == 255, 1) if foreground else alpha


def check_inputs(image: np.ndarray, trimap: np.ndarray) -> None:
    """Refuse what the networks were not made for, saying what to do."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}; convert it first")
    if trimap.dtype != np.uint8 or trimap.ndim != 2:
        raise ValueError(f"trimap must be (H, W) uint8, got {trimap.shape} {trimap.dtype}; convert it first")
    if image.shape[:2] != trimap.shape:
        raise ValueError(f"trimap is {trimap.shape} but image is {image.shape[:2]}; resize the trimap first")
    if not image.size:
        raise ValueError("image is empty")
    if not ((trimap == 0) | (trimap == 128) | (trimap == 255)).all():  # a histogram would count in 8 bytes a pixel
        levels = np.unique(trimap)[:8].tolist()
        raise ValueError(f"trimap has values {levels}...; only 0, 128 and 255 are defined: snap it first")


def choose_device(name: str) -> torch.device:
    """Device by name; "auto" takes CUDA, then MPS, then the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r} is not there: found {torch.cuda.device_count()} CUDA devices; use cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device 'mps' is not available on this machine; use cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device {name!r} is not supported: use auto, cpu, cuda, cuda:N or mps")
    return device


def choose_dtype(name: DType, device: torch.device) -> torch.dtype:
    """Computing precision by name; "auto" is fp32, which reproduces published results."""
    if name == "auto":
        return torch.float32
    if name not in _DTYPES:
        raise ValueError(f"unknown dtype {name!r}: use one of auto, {', '.join(_DTYPES)}")
    if name == "fp16" and device.type == "cpu":
        raise ValueError("fp16 is not computed on a CPU: use bf16 or fp32")
    return _DTYPES[name]
