"""Alpha mattes of images in memory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..base import MattingNetwork
from ..checkpoints.weights import load_weights, weights_file
from ..precision import DType, ExactConvolutions, choose_device, choose_dtype
from .budget import Limits, parse_memory
from .executors import matte, memory_cost
from .folding import fold_batch_norms_
from .masks import trimap_from_mask
from .memory import free, in_use
from .pictures import batch, image_array, mask_tensor, trimap_array
from .recovery import copy_to_cpu, is_out_of_memory, release
from .sharing import ledger
from .tta import predict_views
from .working_size import Plan, WorkingSize, matte_reduced, plan, resolve_working_size, spread, working_size_cost

logger = logging.getLogger(__name__)

Progress = Callable[[float], object]  # called with the share that is done
OUT_OF_MEMORY_RETRIES = 3
_TTA_BYTES = 16  # per pixel: the sum over views, a view's image and trimap, its alpha turned back


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
        """`keep` per 16 px cell of the whole picture, undoing any reduction."""
        return [spread(maps, self.part, *self.alpha.shape) for maps in self.keep] if self.part else self.keep


class Predictor:
    """Runs a matting network on images of any size.

    The model is moved to the device and prepared for inference *in place*: evaluation mode, no gradients, batch norms
    folded into convolutions.

    Args:
        model: any network of this package.
        checkpoint: weights to load, strictly; None where the model already has its weights.
        device: "auto" (CUDA, then MPS, then CPU), "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" is fp32, which is exact on GPUs too; "tf32" lets them round the factors of products; "bf16" and
            "fp16" compute in half precision (routers stay in fp32); fp16 needs a GPU.
        max_tokens: most tokens that a routed block sends to global attention (None: no cap).
        max_memory: what the process may use, "4GB" for example: resident memory on a CPU, the allocator's on CUDA;
            "auto" is all that is free. Chunks and tiles shrink until it suffices, then the token cap. None: no bound.
        shared_by: processes on this device, each of which plans with its part of what is free.
        tta: test-time augmentation: the mean over four rotations and their mirror images, each predicted on its own,
            padding and known regions included. Eight times the time; little more memory.
        working_size: longer side in pixels to which the surroundings of the unknown region are reduced for the
            network; alpha returns to full size along the edges of the picture. "full": as large as the picture is.
            "auto": the size that the checkpoint states or this package knows for it, or more where the picture has
            detail that would be lost; full for other checkpoints.
    """

    def __init__(
        self,
        model: MattingNetwork,
        checkpoint: str | Path | None = None,
        *,
        device: str = "auto",
        dtype: DType = "auto",
        max_tokens: int | None = Limits.max_tokens,
        max_memory: str | None = None,
        shared_by: int = 1,
        tta: bool = False,
        working_size: WorkingSize = "auto",
    ) -> None:
        if max_tokens is not None and max_tokens < 0:
            raise ValueError(f"max_tokens must be at least 0, got {max_tokens}")
        self.device = choose_device(device)
        self.dtype, self.tf32 = choose_dtype(dtype, self.device), dtype == "tf32"
        self.limits = Limits(max_tokens=max_tokens)
        self.tta, self.shared_by = tta, shared_by
        checkpoint = None if checkpoint is None else weights_file(checkpoint)
        self.working_size_px = resolve_working_size(working_size, checkpoint)
        self.keeps_detail = working_size == "auto"
        self.max_memory = parse_memory(max_memory) if max_memory not in (None, "auto") else max_memory
        if checkpoint is not None:
            load_weights(model, checkpoint)
        model = fold_batch_norms_(model.eval().requires_grad_(False))
        self.model = model.to(self.device, memory_format=torch.channels_last)

    def predict(
        self,
        image: Any,
        trimap: Any = None,
        name: str | Sequence[str] = "",
        *,
        mask: Any = None,
        progress: Progress | None = None,
    ) -> Any:
        """Alpha matte of one image or of several.

        Threads may share one predictor: they share its memory budget too, and results do not depend on them.

        Args:
            image: (H, W, 3) uint8 RGB array; a Pillow picture or the path of one; a tensor (3, H, W) or (B, 3, H, W),
                uint8 or float in [0, 1], on any device; or a list of these, in any sizes.
            trimap: (H, W) uint8 array of 0 (background), 128 (unknown), 255 (foreground); a picture or path, whose
                values are snapped to these; a tensor, uint8 or float of 0, 0.5, 1; or a list.
            name: of the image, or a list; networks that draw noise draw it by this name.
            mask: instead of a trimap: a mask of the foreground, around whose edge a band of 3 % of the object's size
                becomes unknown. (H, W) bool, uint8 or float in [0, 1] array or tensor, a picture, a path, or a list.
            progress: called now and then with the share that is done, in (0, 1]; what it raises ends the prediction.
                It must not predict itself.

        Returns:
            (H, W) float32 array in [0, 1]; for a tensor, one of (1, H, W) or (B, 1, H, W) on its device; for a list,
            a list.

        Raises:
            ValueError: the inputs are not as described, or do not fit into the memory budget.
        """
        if (trimap is None) == (mask is None):
            raise ValueError("give either a trimap, or a mask of the foreground by mask=..., for each image")
        if isinstance(image, list | tuple):
            return self._predict_list(image, trimap, name, mask, progress)
        if isinstance(image, Tensor):
            return self._predict_tensor(image, trimap, name, mask, progress)
        pixels = image_array(image)
        if mask is None:
            return self.run(pixels, trimap_array(trimap), name, progress).alpha
        values = mask_tensor(mask)
        check_size("mask", tuple(values.shape), pixels.shape[:2])
        return self.run(pixels, trimap_from_mask(values).cpu().numpy(), name, progress).alpha

    def run(self, image: np.ndarray, trimap: np.ndarray, name: str = "", progress: Progress | None = None) -> Matte:
        """As `predict` for arrays and a trimap, with the routing decisions."""
        check_inputs(image, trimap)
        inputs = (
            torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None],
            torch.from_numpy(np.ascontiguousarray(trimap))[None, None],  # (1, 1, H, W)
        )
        alpha, keep, chosen = self._compute(*inputs, name, progress)
        return Matte(alpha[0, 0].numpy(), [kept[0].numpy() for kept in keep], chosen)

    def _predict_list(self, images: Sequence, trimaps: Any, name: Any, masks: Any, progress: Progress | None) -> list:
        names = [name] * len(images) if isinstance(name, str) else name
        guides = masks if trimaps is None else trimaps
        if not isinstance(guides, list | tuple) or not len(images) == len(guides) == len(names):
            raise ValueError(f"{len(images)} images need as many trimaps or masks, and names or one name, in lists")
        alphas = []
        for index, (image, guide, own) in enumerate(zip(images, guides, names, strict=True)):
            chosen = {"mask": guide} if trimaps is None else {"trimap": guide}
            alphas.append(self.predict(image, name=own, **chosen, progress=_part(progress, index, len(images))))
        return alphas

    def _predict_tensor(self, image: Tensor, trimap: Any, name: Any, mask: Any, progress: Progress | None) -> Tensor:
        if mask is not None:
            masks = mask if isinstance(mask, Tensor) and mask.dim() >= 3 else [mask]
            trimap = torch.stack([trimap_from_mask(mask_tensor(part)) for part in masks])
        images, trimaps = batch(image, torch.as_tensor(trimap))
        names = [name] * len(images) if isinstance(name, str) else name
        if len(names) != len(images):
            raise ValueError(f"{len(images)} images need as many names, or one, not {len(names)}")
        _check_levels(trimaps)
        alphas = [  # one by one: each equals its single prediction, and memory is that of one
            self._compute(images[i : i + 1], trimaps[i : i + 1], names[i], _part(progress, i, len(images)))[0]
            for i in range(len(images))
        ]
        result = torch.cat(alphas).to(image.device)
        return result if image.dim() == 4 else result[0]

    @torch.inference_mode()
    def _compute(
        self, image: Tensor, trimap: Tensor, name: str, progress: Progress | None
    ) -> tuple[Tensor, list[Tensor], Plan | None]:
        """Alpha (1, 1, H, W), routing maps, and the part the network saw.

        The tensors are checked and on the CPU.
        """
        _warn_of_mask(trimap)
        chosen = self._plan(image, trimap)
        keep: list[list[Tensor]] = []
        views = 8 if self.tta else 1

        def predict(image: Tensor, trimap: Tensor) -> Tensor:
            nonlocal limits  # what was too much for one view is not tried again on the next
            watched = replace(limits, on_progress=_part(progress, len(keep), views))
            alpha, kept, limits = self._retried(image, trimap, name, watched)
            keep.append(kept)
            return alpha

        def compute(image: Tensor, trimap: Tensor) -> Tensor:
            return predict_views(predict, image, trimap) if self.tta else predict(image, trimap)

        with self._share(*trimap.shape[-2:], chosen) as limits:
            alpha = compute(image, trimap) if chosen is None else matte_reduced(compute, image, trimap, chosen)
        if not alpha.isfinite().all():
            raise ValueError(
                f"the network's result is not finite in {self.dtype}: compute in fp32, or take another checkpoint"
            )
        if progress is not None:
            progress(1.0)
        return alpha, keep[0], chosen

    def _plan(self, image: Tensor, trimap: Tensor) -> Plan | None:
        """Part and size of the picture for the network; None for all.

        None stands for the whole picture at its own size.
        """
        if self.working_size_px is None:
            return None
        chosen = plan(trimap, self.working_size_px, image if self.keeps_detail else None)
        if chosen is not None:
            logger.info("working size: %s", chosen)
        return chosen

    def choose_limits(self, height: int, width: int, chosen: Plan | None = None) -> Limits:
        """Bounds for an image size, by the memory budget.

        Args:
            chosen: part and size that the network sees, where that is not the whole image as it is.

        Raises:
            ValueError: the image does not fit into the budget.
        """
        with self._share(height, width, chosen) as limits:
            return limits

    @contextmanager
    def _share(self, height: int, width: int, chosen: Plan | None) -> Iterator[Limits]:
        """Bounds by `choose_limits`, their memory reserved for the context's duration."""
        if self.max_memory is None:
            yield self.limits
            return
        rows, cols = (height, width) if chosen is None else (chosen.height, chosen.width)
        enlarging = 0 if chosen is None else working_size_cost(chosen, height, width)

        def cost(limits: Limits) -> int:
            if not self.tta:
                return max(memory_cost(self.model, rows, cols, limits), enlarging)
            turned = max(memory_cost(self.model, *size, limits) for size in ((rows, cols), (cols, rows)))
            return max(turned + _TTA_BYTES * rows * cols, enlarging)

        def held() -> int:
            return in_use(self.device)

        def available() -> int:
            return free(self.device) // self.shared_by if self.max_memory == "auto" else self.max_memory - held()

        book = ledger(self.device)
        with book.share(self.limits, cost, held, available) as limits:
            expected = book.expected() / 1e9
            logger.info("%d x %d pixels: %s; expecting a peak of %.2f GB", width, height, limits, expected)
            if limits.max_tokens != self.limits.max_tokens:
                logger.warning(
                    "the memory budget lowers the token cap to %d, which changes the result", limits.max_tokens
                )
            yield limits

    def _retried(self, image: Tensor, trimap: Tensor, name: str, limits: Limits) -> tuple[Tensor, list[Tensor], Limits]:
        """One view, in smaller pieces after memory errors, finally on the CPU.

        Returns:
            alpha and routing maps, on the CPU, and the limits that sufficed.
        """
        for _ in range(OUT_OF_MEMORY_RETRIES + 1):
            try:
                return *self._view(self.model, self.device, image, trimap, name, limits), limits
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                last, tried = str(error).partition("\n")[0], limits
            release(self.device)
            limits = limits.halved()
            logger.warning("out of memory; trying again with %s", limits)
        if self.device.type == "cpu":
            raise MemoryError(f"out of memory even with {tried}: use a smaller image or --max-tokens ({last})")
        logger.warning("out of memory on %s even with %s: this image is computed on the CPU", self.device, tried)
        cpu = torch.device("cpu")
        return *self._view(copy_to_cpu(self.model), cpu, image, trimap, name, self.limits), tried

    def _view(
        self, model: MattingNetwork, device: torch.device, image: Tensor, trimap: Tensor, name: str, limits: Limits
    ) -> tuple[Tensor, list[Tensor]]:
        """Alpha with known regions enforced, and routing maps; CPU tensors."""
        image, trimap = image.to(device), trimap.to(device)
        dtype = torch.float32 if device.type == "cpu" and self.dtype == torch.float16 else self.dtype
        with self._convolutions(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            output = matte(model, image, trimap, limits, name)
        alpha = enforce_known(output.alpha, trimap, foreground=not model.published_foreground)
        return alpha.cpu(), [kept.cpu() for kept in output.keep]

    def _convolutions(self) -> AbstractContextManager:
        """Float32 convolutions in full, unless TF32 was asked for."""
        return nullcontext() if self.tf32 else ExactConvolutions()


def enforce_known(alpha: Tensor, trimap: Tensor, foreground: bool = True) -> Tensor:
    """Set alpha (..., H, W) to 0 and 1 at known pixels, in place.

    With `foreground` False only the background is set.
    """
    alpha.masked_fill_(trimap == 0, 0)
    return alpha.masked_fill_(trimap == 255, 1) if foreground else alpha


def check_inputs(image: np.ndarray, trimap: np.ndarray) -> None:
    """Refuse inputs of another shape, type or range, with the remedy."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}; convert it first")
    if trimap.dtype != np.uint8 or trimap.ndim != 2:
        raise ValueError(f"trimap must be (H, W) uint8, got {trimap.shape} {trimap.dtype}; convert it first")
    check_size("trimap", trimap.shape, image.shape[:2])
    _check_levels(trimap)


def check_size(what: str, size: tuple[int, ...], image_size: tuple[int, ...]) -> None:
    """Refuse empty images, and trimaps or masks (H, W) of another size."""
    if size != image_size:
        raise ValueError(f"{what} is {size} but image is {image_size}; resize the {what} first")
    if 0 in image_size:
        raise ValueError("image is empty")


def _check_levels(trimap: np.ndarray | Tensor) -> None:
    if not ((trimap == 0) | (trimap == 128) | (trimap == 255)).all():  # a histogram would count in 8 bytes per pixel
        levels = np.unique(torch.as_tensor(trimap).cpu().numpy())[:8].tolist()
        raise ValueError(f"trimap has values {levels}...; only 0, 128 and 255 are defined: snap it first")


def _warn_of_mask(trimap: Tensor) -> None:
    """Warn of trimaps without unknown pixels, which may be masks."""
    foreground = trimap == 255
    if foreground.any() and not (foreground | (trimap == 0)).logical_not().any() and not foreground.all():
        logger.warning("the trimap has no unknown pixels, so alpha is the trimap: is this a mask? Pass it as mask=...")


def _part(progress: Progress | None, index: int, count: int) -> Progress | None:
    """Progress of one part of several, as that of the whole."""
    return None if progress is None else lambda share: progress((index + share) / count)
