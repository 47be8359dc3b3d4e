"""Alpha mattes from exported ONNX files: numpy and onnxruntime only."""

import json
from pathlib import Path

import numpy as np
import onnxruntime

from .prior import UNKNOWN, closed_form_prior
from .sessions import label, open_session, run_session

CELL_PX = 16  # side of a feature cell
HALO_CELLS = 2  # beyond the cells of a tile, an alpha depends on no more
DEFAULT_CAP, DEFAULT_TILE_PX = 18_500, 512


def padded_size(height: int, width: int, multiple: int) -> tuple[int, int]:
    """Published padded size: if either side needs padding, both sides grow."""
    if height % multiple == 0 and width % multiple == 0:
        return height, width
    return height + multiple - height % multiple, width + multiple - width % multiple


class OnnxMatte:
    """MEMatte or ViTMatte from its exported files.

    Args:
        backbone: `NAME_backbone.onnx`, or the joint `NAME.onnx`.
        decoder: `NAME_decoder.onnx`; None for a joint file, which decodes the whole image at once.
        threads: of onnxruntime; None: its default.
        prior: `NAME_prior.onnx`, for networks that have one.
    """

    def __init__(
        self,
        backbone: str | Path | bytes,
        decoder: str | Path | bytes | None = None,
        threads: int | None = None,
        prior: str | Path | bytes | None = None,
    ) -> None:
        self.backbone = open_session(backbone, threads)
        self.decoder = open_session(decoder, threads) if decoder is not None else None
        known = self.backbone.get_modelmeta().custom_metadata_map
        if "image_mean" not in known or (self.decoder is None) != (known.get("part") == "joint"):
            raise ValueError(
                "give NAME_backbone.onnx and NAME_decoder.onnx, or the joint NAME.onnx alone, from tools/export_onnx.py"
            )
        try:
            self._read_metadata(known)
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{label(backbone)}: its metadata are damaged ({error}); export it again") from error
        inputs = [item.name for item in self.backbone.get_inputs()]
        self.routed, self.takes_prior = "max_tokens" in inputs, "prior" in inputs
        if self.decoder is not None and self._channels(self.backbone.get_outputs()) != self._channels(
            self.decoder.get_inputs()
        ):
            raise ValueError("backbone and decoder are of different networks: give the two files of one export")
        self.prior = open_session(prior, threads) if self.takes_prior and prior is not None else None
        if self.prior and self.prior.get_modelmeta().custom_metadata_map.get("part") != "prior":
            raise ValueError(f"{label(prior)} is no NAME_prior.onnx from tools/export_onnx.py")

    def _read_metadata(self, known: dict[str, str]) -> None:
        mean, std = (np.array(json.loads(known[f"image_{key}"]), np.float32) for key in ("mean", "std"))
        self.mean, self.std = mean.reshape(3), std.reshape(3)
        self.multiple, self.prior_px = int(known["multiple"]), int(known.get("prior_px", 1))
        self.size = None if known["size"] == "any" else tuple(map(int, known["size"].split("x")))
        if min(self.multiple, self.prior_px) < 1 or self.multiple % CELL_PX or len(self.size or (1, 1)) != 2:
            raise ValueError("a size is out of range")

    @staticmethod
    def _channels(values: list[onnxruntime.NodeArg]) -> int | None:
        return next((value.shape[1] for value in values if value.name == "features"), None)

    def predict(
        self,
        image: np.ndarray,
        trimap: np.ndarray,
        max_tokens: int | None = DEFAULT_CAP,
        tile_px: int = DEFAULT_TILE_PX,
        prior: np.ndarray | None = None,
    ) -> np.ndarray:
        """Alpha of one image.

        Args:
            image: (H, W, 3) uint8 RGB.
            trimap: (H, W) uint8 of 0 (background), 128 (unknown), 255 (foreground).
            max_tokens: most tokens that a routed block sends to global attention; None: no cap.
            tile_px: side of decoder tiles; tiles without unknown pixels are skipped.
            prior: (H, W) uint8 for networks that take one; None: computed by `NAME_prior.onnx`.

        Returns:
            (H, W) float32 in [0, 1], exactly 0 and 1 in the known regions.
        """
        return self.run(image, trimap, max_tokens, tile_px, prior)[0]

    def run(
        self,
        image: np.ndarray,
        trimap: np.ndarray,
        max_tokens: int | None = DEFAULT_CAP,
        tile_px: int = DEFAULT_TILE_PX,
        prior: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """As `predict`, with the keep maps (blocks, h, w) of routed networks."""
        self._check(image, trimap, max_tokens)
        padded = padded_size(*trimap.shape, self.multiple)
        if self.size is not None and padded != self.size:
            raise ValueError(
                f"this file serves images of {self.size[0]}x{self.size[1]} pixels, the image is padded to "
                f"{padded[0]}x{padded[1]}: export another size, or a MEMatte, which takes all"
            )
        planes = {"image": self._inputs(image, trimap, padded)}
        if self.takes_prior:
            planes["prior"] = self._prior_plane(image, trimap, padded, prior)
        feed = dict(planes)
        if self.routed:
            cap = padded[0] * padded[1]  # more than all tokens
            feed["max_tokens"] = np.array([cap if max_tokens is None else min(max_tokens, cap)], np.int64)
        outputs = run_session(self.backbone, feed)
        keep = outputs[1] if self.routed else None
        if self.decoder is None:
            alpha = outputs[0][0, 0, : trimap.shape[0], : trimap.shape[1]]
        else:
            alpha = self._decode(outputs[0], planes, trimap, max(tile_px // CELL_PX, 1))
        if not np.isfinite(alpha).all():
            raise ValueError("the network's result is not finite: the file is damaged, or its weights are")
        return np.where(trimap == UNKNOWN, alpha, (trimap == 255).astype(np.float32)), keep

    def _prior_plane(
        self, image: np.ndarray, trimap: np.ndarray, padded: tuple[int, int], prior: np.ndarray | None
    ) -> np.ndarray:
        """(1, 1, H', W') float32 in [0, 1], zero beyond the image."""
        if prior is None:
            if self.prior is None:
                raise ValueError("this network takes the closed-form alpha as an input: give NAME_prior.onnx as well")
            prior = closed_form_prior(self.prior, image, trimap, self.prior_px)
        elif prior.shape != trimap.shape or prior.dtype != np.uint8:
            raise ValueError(f"prior must be {trimap.shape} uint8 like the trimap, is {prior.shape} {prior.dtype}")
        plane = np.zeros((1, 1, *padded), np.float32)
        plane[0, 0, : trimap.shape[0], : trimap.shape[1]] = prior.astype(np.float32) / np.float32(255)
        return plane

    def _check(self, image: np.ndarray, trimap: np.ndarray, max_tokens: int | None) -> None:
        if max_tokens is not None and max_tokens < 0:
            raise ValueError(f"max_tokens must be at least 0, is {max_tokens}")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image must be (H, W, 3) uint8 RGB, is {image.shape} {image.dtype}")
        if trimap.shape != image.shape[:2] or trimap.dtype != np.uint8:
            raise ValueError(f"trimap must be {image.shape[:2]} uint8 like its image, is {trimap.shape} {trimap.dtype}")
        if not trimap.size:
            raise ValueError("the image is empty")
        if not np.isin(trimap, (0, UNKNOWN, 255)).all():
            raise ValueError("trimap must hold 0 (background), 128 (unknown) and 255 (foreground) only")

    def _inputs(self, image: np.ndarray, trimap: np.ndarray, padded: tuple[int, int]) -> np.ndarray:
        """(1, 4, H', W') float32: normalised colours and the trimap, zero beyond the image."""
        height, width = trimap.shape
        inputs = np.zeros((1, 4, *padded), np.float32)
        for channel in range(3):
            values = image[..., channel].astype(np.float32) / np.float32(255)
            inputs[0, channel, :height, :width] = (values - self.mean[channel]) / self.std[channel]
        inputs[0, 3, :height, :width] = trimap.astype(np.float32) / np.float32(255)
        return inputs

    def _decode(
        self, features: np.ndarray, planes: dict[str, np.ndarray], trimap: np.ndarray, cells: int
    ) -> np.ndarray:
        """Alpha (H, W) from square tiles around unknown pixels, 0 elsewhere.

        Tiles have `cells` feature cells per side.
        """
        alpha = np.zeros(trimap.shape, np.float32)
        rows, cols = features.shape[2:]
        for top in range(0, rows, cells):
            for left in range(0, cols, cells):
                part = slice(top * CELL_PX, (top + cells) * CELL_PX), slice(left * CELL_PX, (left + cells) * CELL_PX)
                if not (trimap[part] == UNKNOWN).any():
                    continue
                first_row, first_col = max(top - HALO_CELLS, 0), max(left - HALO_CELLS, 0)
                outer = slice(first_row, top + cells + HALO_CELLS), slice(first_col, left + cells + HALO_CELLS)
                pixels = tuple(slice(side.start * CELL_PX, side.stop * CELL_PX) for side in outer)
                feed = {name: plane[..., pixels[0], pixels[1]] for name, plane in planes.items()}
                feed["features"] = features[..., outer[0], outer[1]]
                tile = run_session(self.decoder, feed)[0][0, 0]
                skip_y, skip_x = (top - first_row) * CELL_PX, (left - first_col) * CELL_PX
                target = alpha[part]
                target[:] = tile[skip_y : skip_y + target.shape[0], skip_x : skip_x + target.shape[1]]
        return alpha
