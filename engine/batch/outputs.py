"""Output files of a matte: alpha, cut-out, foreground colours, composite, preview."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from data.files import FileError, read_bytes, read_colours, read_metadata, write_alpha
from data.products.backgrounds import Background
from data.products.colours import Depth, check_depth, extend_colours, write_colours
from data.products.previews import over, preview
from data.records import fingerprint, is_whole, read_record
from engine.batch.kinds import KINDS, Kind
from modeling.foreground import estimate_foreground, memory_cost
from modeling.inference.recovery import on_device_or_cpu


@dataclass(frozen=True)
class Outputs:
    """Kinds, formats and settings of the files made from a matte.

    A single kind and, among several, the alpha go to NAME; the other kinds to NAME_rgba, NAME_composite and so on.

    Attributes:
        suffix: of the colour files; alphas and previews are PNG.
        depth: of the colour files; None is the least that the suffix has.
        bit_depth: of the alphas.
        device: where foreground colours are computed.
        origin: network, weights and options that the mattes are made with, for the records in the files.
    """

    kinds: Sequence[Kind] = ("alpha",)
    suffix: str = ".png"
    depth: Depth | None = None
    bit_depth: int = 8
    premultiplied: bool = False
    background: Background | None = None
    device: torch.device | str = "cpu"
    origin: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.kinds or set(self.kinds) - set(KINDS) or len(set(self.kinds)) < len(self.kinds):
            raise ValueError(f"output kinds are {', '.join(self.kinds)}; name each of {', '.join(KINDS)} at most once")
        check_depth(self.suffix, self.colour_depth)
        if ("composite" in self.kinds) != (self.background is not None):
            raise ValueError("a background and the output kind composite belong together: give both or neither")

    @property
    def colour_depth(self) -> Depth:
        """Depth of the colour files."""
        return self.depth or ("half" if self.suffix.lower() == ".exr" else "8")

    def path(self, output: Path, kind: Kind) -> Path:
        """File of one kind, for the PNG file `output` of the alpha."""
        suffix = ".png" if kind in ("alpha", "preview") else self.suffix
        addition = "" if kind == "alpha" or len(self.kinds) == 1 else f"_{kind}"
        return output.with_name(output.name.removesuffix(output.suffix) + addition + suffix)

    def paths(self, output: Path) -> list[Path]:
        """All files of one matte."""
        return [self.path(output, kind) for kind in self.kinds]

    def started(self, output: Path) -> bool:
        """True if any of the files is there."""
        return any(path.exists() for path in self.paths(output))

    def record(self, kind: Kind, inputs: str, name: str = "") -> str:
        """Record of the settings and inputs of one file, in ASCII.

        Args:
            inputs: fingerprint of image and trimap.
            name: of the image.
        """
        parts = {"kind": kind, "inputs": inputs, "made": dict(self.origin)}
        if kind == "alpha":
            parts["depth"] = str(self.bit_depth)
        elif kind != "preview":
            parts |= {"depth": self.colour_depth, "premultiplied": self.premultiplied}
        if kind == "composite":
            parts["background"] = self._background_identity(name)
        return json.dumps(parts, sort_keys=True)

    def _background_identity(self, name: str) -> str:
        if self.background.colour is not None:
            return "#{:02x}{:02x}{:02x}".format(*self.background.colour)
        return fingerprint([read_bytes(self.background.file(name))])

    def complete(self, output: Path, inputs: str, name: str = "") -> bool:
        """True if all files are whole and record these settings and inputs."""
        return all(
            read_record(path) == self.record(kind, inputs, name) and is_whole(path)
            for kind, path in zip(self.kinds, self.paths(output), strict=True)
        )

    def write(
        self,
        output: Path,
        photograph: Path | None,
        image: np.ndarray,
        trimap: np.ndarray,
        alpha: np.ndarray,
        keep: Sequence[np.ndarray] = (),
        name: str = "",
        inputs: str = "",
    ) -> None:
        """Write all kinds.

        Args:
            output: file of the alpha alone.
            photograph: the file of the image: gives the colours at full depth, and profile and EXIF. None for a frame
                of a clip, whose colours are those of `image`.
            image, trimap: uint8 (H, W, 3) and (H, W).
            alpha: float32 (H, W).
            keep: routing maps for the preview.
            name: of the image; chooses the background from a folder.
            inputs: fingerprint of image and trimap, by which a resumed run knows the files again.
        """
        if "alpha" in self.kinds:
            write_alpha(self.path(output, "alpha"), alpha, self.bit_depth, self.record("alpha", inputs))
        if set(self.kinds) == {"alpha"}:
            return
        colours = read_colours(photograph) if photograph else image
        metadata = read_metadata(photograph) if photograph else None
        if colours.shape[:2] != alpha.shape:
            raise FileError(f"{photograph}: is {colours.shape[:2]}, but its alpha is {alpha.shape}; resize one of them")
        foreground = self.foreground(colours, alpha)
        extended = extend_colours(foreground, alpha)
        colour_layers = {"rgba": (extended, alpha), "foreground": (extended, None)}
        if self.background is not None:
            colour_layers["composite"] = over(foreground, alpha, self.background.picture(name, *alpha.shape)), None
        for kind, layers in colour_layers.items():
            if kind in self.kinds:
                write_colours(
                    self.path(output, kind),
                    *layers,
                    depth=self.colour_depth,
                    premultiplied=self.premultiplied,
                    metadata=metadata,
                    record=self.record(kind, inputs, name),
                )
        if "preview" in self.kinds:
            shown = preview(image, trimap, alpha, foreground, keep).astype(np.float32) / 255
            write_colours(self.path(output, "preview"), shown, record=self.record("preview", inputs))

    def foreground(self, colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """Foreground colours, float32 (H, W, 3), of integer colours and a float32 alpha."""
        tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in (colours, alpha)]

        def estimate(device: torch.device) -> torch.Tensor:
            return estimate_foreground(*(tensor.to(device) for tensor in tensors)).cpu()

        return on_device_or_cpu(estimate, self.device, memory_cost(*alpha.shape)).numpy()
