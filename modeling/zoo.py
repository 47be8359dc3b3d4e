"""Sizes of all networks by name, the source of the LazyConfigs."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from .aematter import AEMatter
from .backbone.prior_swin import PriorSwin
from .backbone.resnet import ResNet34D
from .backbone.vit import ViT
from .cheapmatting import CheapMatting
from .decoder.detail_capture import DetailCapture
from .decoder.diffusion_decoder import DiffusionDecoder
from .diffmatte import DiffMatte
from .mediffmatte import MEDiffMatte
from .mematte import MEMatte
from .vitmatte import ViTMatte

TEACHER = "teacher_backbone."  # prefix of the teacher's tensors in training checkpoints


class Part:
    """Class of this package with its constructor's settings, which may be parts."""

    def __init__(self, make: Callable[..., nn.Module], **settings: Any) -> None:
        self.make, self.settings = make, settings

    def build(self, **changed: Any) -> nn.Module:
        """Construct it, with fresh weights; `changed` settings replace those of the table."""
        settings = self.settings | changed
        return self.make(
            **{key: value.build() if isinstance(value, Part) else value for key, value in settings.items()}
        )


@dataclass(frozen=True)
class Model:
    """One row of the table.

    Attributes:
        network: the network and its sizes.
        configs: names of the files in configs/ with this network, the one that its published weights belong to first.
        tensors: `fingerprint` of its state dict.
        working_size_px: for weights that state none (docs/photographs.md); None for the size of the picture.
    """

    network: Part
    configs: tuple[str, ...]
    tensors: str
    working_size_px: int | None = None


def _vit(embed_dim: int, num_heads: int, routed: bool, **further: Any) -> Part:
    """ViT of depth 12, windows of 14 tokens, four global blocks."""
    sizes = {"depth": 12, "window_size": 14, "global_blocks": (2, 5, 8, 11), "table_side": 32} | further
    return Part(ViT, embed_dim=embed_dim, num_heads=num_heads, routed=routed, **sizes)


def _tiny(make: type, routed: bool, prior: bool = True, **further: Any) -> Part:
    """A tiny network, which improves on the closed-form alpha if `prior`.

    Small windows, final norm and mimetic attention, for random initial weights; the decoder has half the usual width.
    """
    in_chans = 5 if prior else 4
    settings = {"window_size": 7, "final_norm": True, "mimetic": True, "key_gradients": False, "in_chans": in_chans}
    backbone = _vit(192, 3, routed, **settings, **({"router_noise": 0.0} if routed else {}))
    decoder = Part(
        DetailCapture,
        feature_chans=192,
        in_chans=in_chans,
        stream_chans=(24, 48, 96),
        fusion_chans=(128, 64, 32, 16),
        head_chans=8,
        residual=prior,
    )
    return Part(make, backbone=backbone, decoder=decoder, prior=prior, **further)


def _vitmatte(embed_dim: int, num_heads: int) -> Part:
    backbone = _vit(embed_dim, num_heads, routed=False)
    return Part(ViTMatte, backbone=backbone, decoder=Part(DetailCapture, feature_chans=embed_dim))


def _mematte(embed_dim: int, num_heads: int) -> Part:
    backbone = _vit(embed_dim, num_heads, routed=True)
    return Part(MEMatte, backbone=backbone, decoder=Part(DetailCapture, feature_chans=embed_dim), distill=True)


def _diffmatte(backbone: Part, down: tuple[int, ...], up: tuple[int, ...], make: type = DiffMatte, **further) -> Part:
    return Part(
        make,
        backbone=backbone,
        decoder=Part(DiffusionDecoder, down_channels=down, up_channels=up),
        sample_strategy="ddim10",
        signal_scale=0.2,
        seed=8282,
        published_foreground=False,
        self_align_stage1_step=None,
        self_align_stage2_step=None,
        **further,
    )


def _diffmatte_vit(embed_dim: int, num_heads: int, table_side: int = 32) -> Part:
    """DiffMatte on a plain ViT.

    `table_side`: side in tokens of the crops that the relative positions were trained on.
    """
    backbone = _vit(embed_dim, num_heads, routed=False, table_side=table_side)
    return _diffmatte(backbone, (7, 32, 64, 128), (embed_dim, 256, 128, 64, 32))


MODELS: dict[str, Model] = {
    "MEMatte_T": Model(
        _tiny(MEMatte, routed=True, distill=True),
        configs=("MEMatte_T", "MEMatte_T_finetune"),
        tensors="cf8d3400",
        working_size_px=640,
    ),
    "MEMatte_T1": Model(  # the first generation
        _tiny(MEMatte, routed=True, prior=False, distill=True),
        configs=("MEMatte_T1",),
        tensors="90346f21",
        working_size_px=640,
    ),
    "MEMatte_S": Model(
        _mematte(384, 6),
        configs=(
            "MEMatte_S_topk0.25_win_global_long",
            "MEMatte_S_UHR395",
            "MEMatte_S_realworld",
            "MEMatte_S_finetune",
            "MEMatte_S_1024",
        ),
        tensors="6e58fc02",
    ),
    "MEMatte_B": Model(
        _mematte(768, 12), configs=("MEMatte_B_topk0.25_win_global_long", "MEMatte_B_UHR395"), tensors="9fcebac9"
    ),
    "ViTMatte_T": Model(
        _tiny(ViTMatte, routed=False), configs=("ViTMatte_T",), tensors="0de07f87", working_size_px=640
    ),
    "ViTMatte_T1": Model(
        _tiny(ViTMatte, routed=False, prior=False), configs=("ViTMatte_T1",), tensors="59363bf4", working_size_px=640
    ),
    "ViTMatte_S": Model(_vitmatte(384, 6), configs=("ViTMatte_S_100ep",), tensors="155c3dc8"),
    "ViTMatte_B": Model(_vitmatte(768, 12), configs=("ViTMatte_B_100ep",), tensors="0a36f684"),
    "DiffMatte_Res34": Model(
        _diffmatte(Part(ResNet34D), (7, 32, 64, 128, 128), (512, 256, 256, 128, 64, 32)),
        configs=("DiffMatte_Res34",),
        tensors="7429a2e5",
    ),
    "DiffMatte_SwinT": Model(
        _diffmatte(Part(PriorSwin, drop_path=0.3), (7, 32, 64, 128, 128), (768, 256, 256, 128, 64, 32)),
        configs=("DiffMatte_SwinT",),
        tensors="4ed47897",
    ),
    "DiffMatte_ViTS": Model(_diffmatte_vit(384, 6), configs=("DiffMatte_ViTS",), tensors="35b2b5d8"),
    "DiffMatte_ViTS_1024": Model(
        _diffmatte_vit(384, 6, table_side=64), configs=("DiffMatte_ViTS_1024",), tensors="d5b0e96c"
    ),
    "DiffMatte_ViTB": Model(_diffmatte_vit(768, 12), configs=("DiffMatte_ViTB",), tensors="5cafbdec"),
    "MEDiffMatte_S": Model(
        _diffmatte(
            _vit(384, 6, routed=True), (7, 32, 64, 128), (384, 256, 128, 64, 32), make=MEDiffMatte, distill=True
        ),
        configs=("MEDiffMatte_S",),
        tensors="e06db34a",
    ),
    "AEMatter": Model(
        Part(AEMatter, drop_path=0.2, decoder_drop_path=(0.09, 0.07, 0.05, 0.03), dropout=0.2),
        configs=("AEMatter",),
        tensors="2604f9fb",
    ),
    "CheapMatting": Model(Part(CheapMatting), configs=("CheapMatting",), tensors="1999dd74"),
}
_BY_TENSORS = {model.tensors: name for name, model in MODELS.items()}
_BY_CONFIG = {config: name for name, model in MODELS.items() for config in model.configs}


def find(name: str) -> str:
    """Row of the table by its name or a config's.

    Hyphens count as underscores.

    Raises:
        ValueError: there is no such row.
    """
    for known in (name, name.replace("-", "_")):
        if known in MODELS or known in _BY_CONFIG:
            return _BY_CONFIG.get(known, known)
    close = get_close_matches(name, MODELS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown model {name!r}{hint} The models are {', '.join(MODELS)}")


def build(name: str, **changed: Any) -> nn.Module:
    """Network by name, with fresh weights.

    Args:
        name: of the table, or of a config.
        changed: settings of the network's constructor that differ from the table, for example `sample_strategy`.
    """
    return MODELS[find(name)].network.build(**changed)


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Eight hexadecimal digits for tensor names and shapes, in any order.

    A teacher's tensors do not count.
    """
    lines = sorted(f"{name} {tuple(value.shape)}" for name, value in state.items() if not name.startswith(TEACHER))
    return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()[:8]


def identify(state: Mapping[str, Tensor]) -> str | None:
    """Model with exactly these tensor names and shapes; None if none.

    A teacher's tensors do not count.
    """
    return _BY_TENSORS.get(fingerprint(state))
